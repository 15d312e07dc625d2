"""Named questions of an investigation: one file of SQL each, with a header that says what it asks and answers."""
