"""Alembic's entry: runs the revisions on the connection that `tagtrail_kernel.migrations` lends."""

from alembic import context

schema = context.config.attributes["schema"]
context.configure(
    connection=context.config.attributes["connection"],
    version_table="alembic_version",
    version_table_schema=schema,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
