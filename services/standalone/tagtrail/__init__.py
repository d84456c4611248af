"""Tagtrail in one process: command line, composition root and simulator."""
