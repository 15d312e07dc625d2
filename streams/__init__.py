"""The shell: everything that moves."""
