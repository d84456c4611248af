"""Alerts: rules over the log, and cards for the people who act on them."""
