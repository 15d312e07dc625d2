"""What a stranger may send: mutated, absurd, compressed and plainly broken."""
