"""One file a detector, and the conformance suite over all of them."""
