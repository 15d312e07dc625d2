"""How fast it is, measured through real servers and real processes."""
