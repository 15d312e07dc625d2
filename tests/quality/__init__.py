"""How good the detectors are, on real data: `make quality`."""
