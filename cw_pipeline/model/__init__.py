"""The nouns of the pipeline, in the order a record meets them.

Nothing here does I/O; every other module speaks in these types.
"""

from cw_pipeline.model.batch import Batch as Batch
from cw_pipeline.model.batch import Data as Data
from cw_pipeline.model.batch import Drift as Drift
from cw_pipeline.model.batch import Packed as Packed
from cw_pipeline.model.batch import Reject as Reject
from cw_pipeline.model.entity import STAMP as STAMP
from cw_pipeline.model.entity import Array as Array
from cw_pipeline.model.entity import Column as Column
from cw_pipeline.model.entity import Entity as Entity
from cw_pipeline.model.entity import Keeping as Keeping
from cw_pipeline.model.entity import Kind as Kind
from cw_pipeline.model.entity import Row as Row
from cw_pipeline.model.progress import TAIL as TAIL
from cw_pipeline.model.progress import Checkpoint as Checkpoint
from cw_pipeline.model.progress import IdRange as IdRange
from cw_pipeline.model.progress import RequestGrant as RequestGrant
from cw_pipeline.model.progress import Window as Window
from cw_pipeline.model.results import Audit as Audit
from cw_pipeline.model.results import Report as Report
from cw_pipeline.model.results import ReportColumn as ReportColumn
from cw_pipeline.model.results import ReportDrift as ReportDrift
