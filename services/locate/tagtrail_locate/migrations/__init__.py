"""Revisions of the schema `locate`."""
