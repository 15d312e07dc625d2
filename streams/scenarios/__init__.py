"""One scenario a file: seeded traffic in which something happens, and what must come of it (see `scenario`)."""
