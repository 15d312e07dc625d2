"""Scenarios that no rule was written for: whether the likeliest cause is right where nobody looked before."""
