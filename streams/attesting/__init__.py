"""What a deployment is made of, hashed and looked at without ever loading any of it."""
