"""Run by Alembic: migrates over the connection that the pipeline hands in."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table="migration",
    version_table_schema="cw_sync",
)
with context.begin_transaction():
    context.run_migrations()
