"""Numbered DDL, never edited after release."""
