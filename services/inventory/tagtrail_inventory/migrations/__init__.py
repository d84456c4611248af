"""Revisions of schema `inventory`."""
