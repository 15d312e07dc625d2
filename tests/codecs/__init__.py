"""Tests of the codecs: one conformance suite over all of them, and one file for each."""
