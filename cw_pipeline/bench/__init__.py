"""How fast it is, and what it costs: the table of the README, measured on this machine.

A page server in a process of its own hands out prepared bytes, a PostgreSQL takes the rows, and
every sync runs in a fresh process that counts its CPU seconds and PostgreSQL's. What is compared
is measured in turns, in one go.

    records -> pages -> server          the tenant, as bytes
    lab -> worker, rawcopy              one measured run, each a process
    cases -> report -> plot             what is promised, what was seen
"""

from __future__ import annotations
