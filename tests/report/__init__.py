"""Reports: read from a store, rendered with attacks in them, opened in a browser."""
