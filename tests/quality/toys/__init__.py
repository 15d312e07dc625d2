"""Tasks that test the bench itself."""
