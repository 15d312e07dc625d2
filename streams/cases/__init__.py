"""What findings come to: incidents with their causes, plans and history."""
