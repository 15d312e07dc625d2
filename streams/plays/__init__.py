"""Traffic with an incident in it, and the demos that play it through the real stack."""
