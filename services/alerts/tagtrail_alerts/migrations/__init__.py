"""Schema of the alerts service."""
