"""Typing what was read: the body of a page in, a batch of rows out."""

from cw_pipeline.transform.pages import Normalizer as Normalizer
from cw_pipeline.transform.pages import id_of as id_of
