"""The nouns of the pipeline, in the order a record meets them.

Nothing here does I/O; every other module speaks in these types.
"""

from cw_pipeline.model.batch import Batch as Batch
from cw_pipeline.model.batch import Data as Data
from cw_pipeline.model.batch import PackedRows as PackedRows
from cw_pipeline.model.batch import Reject as Reject
from cw_pipeline.model.batch import SchemaDrift as SchemaDrift
from cw_pipeline.model.entity import LAST_UPDATED as LAST_UPDATED
from cw_pipeline.model.entity import ApiVersions as ApiVersions
from cw_pipeline.model.entity import Array as Array
from cw_pipeline.model.entity import Column as Column
from cw_pipeline.model.entity import Entity as Entity
from cw_pipeline.model.entity import Kind as Kind
from cw_pipeline.model.entity import Row as Row
from cw_pipeline.model.entity import SyncMode as SyncMode
from cw_pipeline.model.progress import TAIL as TAIL
from cw_pipeline.model.progress import Checkpoint as Checkpoint
from cw_pipeline.model.progress import ClockReading as ClockReading
from cw_pipeline.model.progress import ClockStep as ClockStep
from cw_pipeline.model.progress import IdRange as IdRange
from cw_pipeline.model.progress import RequestGrant as RequestGrant
from cw_pipeline.model.progress import Window as Window
from cw_pipeline.model.progress import utc_datetime as utc_datetime
from cw_pipeline.model.results import Audit as Audit
from cw_pipeline.model.results import ReplayResult as ReplayResult
from cw_pipeline.model.results import ReportColumn as ReportColumn
from cw_pipeline.model.results import ReportDrift as ReportDrift
from cw_pipeline.model.results import SyncResult as SyncResult
