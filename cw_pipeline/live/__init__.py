"""Seconds instead of minutes: callbacks of ConnectWise become hints, hints become rows.

    ConnectWise ──POST──► receiver.py ──hint──► cw_sync.hint ──► drain.py ──id in (…)──► merge

A hint says that a record may have changed, and nothing else is taken from it: the record is read
from the API like any other. Passes go on as before, so a callback that is lost, late, doubled or
forged can cost freshness and never a row.
"""
