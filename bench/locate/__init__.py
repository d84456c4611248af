"""Scores locate's own cores on measured positioning data, one module per set."""
