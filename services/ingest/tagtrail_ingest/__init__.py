"""Ingest: takes messages of gateways, keeps them in the log, tells everybody."""
