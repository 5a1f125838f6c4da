"""Typing what was read: the body of a page in, a batch of rows out."""

from cw_pipeline.transform.pages import PageReader as PageReader
from cw_pipeline.transform.pages import decode_ids as decode_ids
