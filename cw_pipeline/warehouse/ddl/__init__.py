"""Changing tables and views that others read, build on, and have granted to each other.

locks        nobody queues behind us: short waits for a lock, many tries, the blocker named
dependents   what stands on a view or a column is taken down and put back as it was
"""

from cw_pipeline.warehouse.ddl.locks import Attempt as Attempt
from cw_pipeline.warehouse.ddl.locks import patiently as patiently
from cw_pipeline.warehouse.lock_waits import Patience as Patience
