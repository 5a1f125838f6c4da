"""Reading ConnectWise: a question in, a checked answer out. The only room that speaks HTTP."""

from cw_pipeline.connectwise.answers import AnswerLimits as AnswerLimits
from cw_pipeline.connectwise.client import ConnectWise as ConnectWise
from cw_pipeline.connectwise.client import RequestCounts as RequestCounts
from cw_pipeline.connectwise.query import Paging as Paging
from cw_pipeline.connectwise.query import Query as Query
from cw_pipeline.connectwise.query import format_timestamp as format_timestamp
from cw_pipeline.connectwise.query import path_for as path_for
from cw_pipeline.connectwise.rate_limit import RateLimiter as RateLimiter
from cw_pipeline.connectwise.response import VERSION_REFUSED as VERSION_REFUSED
from cw_pipeline.connectwise.response import SourceClock as SourceClock
from cw_pipeline.connectwise.response import body_description as body_description
from cw_pipeline.connectwise.response import decode_small as decode_small
from cw_pipeline.connectwise.retry import BACKGROUND as BACKGROUND
from cw_pipeline.connectwise.retry import INTERACTIVE as INTERACTIVE
from cw_pipeline.connectwise.retry import PROBING as PROBING
from cw_pipeline.connectwise.retry import Policy as Policy
from cw_pipeline.connectwise.retry import silence_stamina as silence_stamina
from cw_pipeline.connectwise.site import Credentials as Credentials
from cw_pipeline.connectwise.site import Site as Site
from cw_pipeline.connectwise.site import trust as trust
