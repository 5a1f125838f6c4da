"""Reading ConnectWise: a question in, a checked answer out. The only room that speaks HTTP."""

from cw_pipeline.extract.auth import refuse_cookies as refuse_cookies
from cw_pipeline.extract.client import ConnectWise as ConnectWise
from cw_pipeline.extract.gate import Gate as Gate
from cw_pipeline.extract.query import Paging as Paging
from cw_pipeline.extract.query import Query as Query
from cw_pipeline.extract.query import address as address
from cw_pipeline.extract.query import instant as instant
from cw_pipeline.extract.response import VERSION_REFUSED as VERSION_REFUSED
from cw_pipeline.extract.retry import BACKGROUND as BACKGROUND
from cw_pipeline.extract.retry import BRIEF as BRIEF
from cw_pipeline.extract.retry import INTERACTIVE as INTERACTIVE
from cw_pipeline.extract.retry import Policy as Policy
from cw_pipeline.extract.site import Credentials as Credentials
from cw_pipeline.extract.site import Site as Site
from cw_pipeline.extract.tally import Tally as Tally
from cw_pipeline.extract.tls import trust as trust
