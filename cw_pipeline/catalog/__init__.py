"""What is synced: every list of the vendor's API that holds data, by name.

One file to a module of the API, one line to an entity; columns follow from the vendor's facts.
`left_out` says which lists are not here, and why.
"""

from cw_pipeline.catalog.registry import CATALOG as CATALOG
from cw_pipeline.catalog.registry import select as select
