"""Running it with Dagster: an asset for each entity, schedules, backfills, checks.

The only room that knows Dagster. `definitions` is the code location, `record` lets the command line
run a sync that shows up like a scheduled one.
"""
