"""Pure rules: events in, alerts out. No I/O, no clock, no randomness."""
