"""Keeps a Postgres warehouse in step with a ConnectWise PSA tenant, and proves it.

catalog says what, extract reads it, normalize types it, load merges it,
publish serves it; `sync` tells the whole story and `orchestrate` runs it.
"""
