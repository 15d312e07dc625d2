"""One detector a file; the file name is its id. `detectors.bank.discover` finds them."""
