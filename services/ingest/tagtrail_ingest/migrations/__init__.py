"""Alembic revisions of the schema `log`. See `tagtrail_kernel.migrations`."""
