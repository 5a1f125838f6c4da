"""Telling records that are what was read before, byte for byte, without typing them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import msgspec

from cw_pipeline.normalize.page import digest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cw_pipeline.model import Data, Entity

_EDITION = 1  # of normalize: a change in what it makes of a record must not leave old rows alone
_RAW = msgspec.json.Decoder(list[msgspec.Raw])


class _Info(msgspec.Struct, gc=False, rename="camel"):
    last_updated: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class _Known(msgspec.Struct, gc=False, rename={"info": "_info"}):
    id: int
    info: _Info | None = None

    @property
    def stamp(self) -> datetime | None:
        return None if self.info is None else self.info.last_updated


_KNOWN = msgspec.json.Decoder(list[_Known])


@dataclass(frozen=True, slots=True)
class Sight:
    """What can be seen of a page's records without typing them; all in the page's order."""

    ids: Sequence[int]
    stamps: Sequence[datetime | None]
    sources: Sequence[int]
    records: Sequence[msgspec.Raw]

    def body(self, some: Sequence[int]) -> bytes:
        """A page of just these records."""
        return b"[" + b",".join(self.records[at] for at in some) + b"]"


class Sieve:
    """Hashes the records of one entity as they come.

    The same record has another hash once its entity has other columns: it makes another row then.
    """

    def __init__(self, entity: Entity) -> None:
        made_of = (_EDITION, entity.columns, entity.arrays)
        self.seed = digest(repr(made_of).encode()) % 2**64
        self._stamped = entity.stamped

    def look(self, body: Data) -> Sight | None:
        """What can be seen of a page; None if its records do not show their ids and stamps."""
        try:
            known, records = _KNOWN.decode(body), _RAW.decode(body)
        except msgspec.DecodeError:
            return None
        stamps = [one.stamp if self._stamped else None for one in known]
        sources = [digest(record, self.seed) for record in records]
        return Sight([one.id for one in known], stamps, sources, records)
