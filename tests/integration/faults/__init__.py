"""Faults, and the checker that says whether a promise held under them."""
