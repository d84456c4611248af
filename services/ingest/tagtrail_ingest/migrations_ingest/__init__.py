"""Revisions of schema `ingest`: quarantine, tallies, consumers."""
