"""The groups of verbs, one file each. Thin: parse, call, print."""
