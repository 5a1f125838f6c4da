"""Typing what was read: the body of a page in, a batch of rows out."""

from cw_pipeline.normalize.normalizer import Normalizer as Normalizer
from cw_pipeline.normalize.normalizer import id_of as id_of
