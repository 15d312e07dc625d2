"""Pure detectors over model behaviour: no I/O, no clock, no environment."""
