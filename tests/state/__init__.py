"""State that survives: who may bring it back, what is refused, and how much of it there can be."""
