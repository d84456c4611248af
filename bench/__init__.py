"""Limits of the hot paths, and the check that compares a run with them."""
