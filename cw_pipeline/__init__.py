"""Keeps a Postgres warehouse in step with a ConnectWise PSA tenant, and proves it.

`catalog` says what there is, `connectwise` reads it, `transform` makes rows of it, `warehouse`
merges them and `reporting` serves them; `sync` tells the whole story and `dagster` runs it.
"""
