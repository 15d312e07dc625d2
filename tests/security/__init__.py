"""Nobody in, nothing out: what is answered, to whom, and what is never said."""
