"""A page becomes rows: its body in, a batch out. No network, no database."""

from cw_pipeline.transform.pages import PageReader as PageReader
from cw_pipeline.transform.pages import decode_ids as decode_ids
from cw_pipeline.transform.pages import refused_record as refused_record
