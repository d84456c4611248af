"""What all services share: events, the log port, consumers, access, errors, wiring. Imports no service."""
