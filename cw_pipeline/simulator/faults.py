"""Faults on demand: what goes wrong, where, and how often. The same seed gives the same faults."""

from __future__ import annotations

import dataclasses
import random
import threading
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from cw_pipeline.simulator.role import covers

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from cw_pipeline.simulator.query import ListRequest

Kind: TypeAlias = Literal[
    "429", "500", "503", "timeout500", "drop", "reset", "hang", "slow", "truncated", "html",
    "poison", "unknown_field", "wrong_type", "nul", "explicit_null",
]  # fmt: skip
_MENDING = frozenset({"unknown_field", "wrong_type", "nul", "explicit_null"})
_ALL = 2**64


@dataclasses.dataclass(slots=True)
class Fault:
    """One thing that goes wrong, on the lists that `path` (a path or a glob; None: all) names.

    Faults of requests fire at the `at`-th matching requests (from 1), else by `rate`, at most
    `times` times; `page_size_over` spares smaller pages. `poison` and the faults of records
    (unknown_field, wrong_type, nul, explicit_null) hit `ids`, or a `rate` of all records, always
    the same ones. `poison` spares questions whose `fields` leave `field` out (every question with
    `fields`, if None); `spares=False` takes that back. `seconds` is how long `hang` and `slow`
    last, `retry_after` what a 429 asks for. `fired` counts.
    """

    kind: Kind
    path: str | None = None
    rate: float | None = None
    at: Sequence[int] = ()
    times: int | None = None
    ids: Collection[int] = ()
    field: str | None = None
    value: Any = None
    seconds: float = 1.0
    retry_after: int = 1
    page_size_over: int | None = None
    spares: bool = True
    seen: int = dataclasses.field(default=0, init=False)
    fired: int = dataclasses.field(default=0, init=False)


class Faults:
    """The faults in force. Deterministic from `seed` and the order of requests."""

    def __init__(self, faults: Sequence[Fault] = (), seed: int = 0) -> None:
        self.all = list(faults)
        self._seed = seed
        self._dice = random.Random(seed)  # noqa: S311
        self._lock = threading.Lock()

    def add(self, *faults: Fault) -> None:
        """From now on these are in force too."""
        self.all.extend(faults)

    def clear(self) -> None:
        """Nothing goes wrong any more."""
        self.all.clear()

    def strikes(self, path: str, page_size: int, *, login: bool = False) -> Fault | None:
        """The fault of a request that hits this one, if any; counts it."""
        with self._lock:
            named = [each for each in self.all if each.path is not None or not login]
            hits = [each for each in named if self._hits(each, path, page_size)]
            for each in hits[:1]:
                each.fired += 1
            return hits[0] if hits else None

    def _hits(self, fault: Fault, path: str, page_size: int) -> bool:
        if fault.kind in _MENDING or fault.kind == "poison" or not covers(fault.path, path):
            return False
        if fault.page_size_over is not None and page_size <= fault.page_size_over:
            return False
        fault.seen += 1
        if fault.times is not None and fault.fired >= fault.times:
            return False
        if fault.at:
            return fault.seen in fault.at
        return fault.rate is None or self._dice.random() < fault.rate

    def poisons(self, path: str, ids: Collection[int], asked: ListRequest) -> bool:
        """Whether one of these records breaks the server when it is written out."""
        for fault in self.all:
            if fault.kind != "poison" or not covers(fault.path, path) or _is_spared(fault, asked):
                continue
            if any(self._marks(fault, each) for each in ids):
                fault.fired += 1
                return True
        return False

    def mend(self, path: str) -> Callable[[dict[str, Any]], dict[str, Any]] | None:
        """What the faults of records do to each record of this list; None for nothing."""
        mending = [f for f in self.all if f.kind in _MENDING and covers(f.path, path)]
        if not mending:
            return None

        def mend_record(record: dict[str, Any]) -> dict[str, Any]:
            for fault in mending:
                if self._marks(fault, record["id"]):
                    fault.fired += 1
                    record = _spoil(record, fault)
            return record

        return mend_record

    def _marks(self, fault: Fault, record_id: int) -> bool:
        if fault.ids:
            return record_id in fault.ids
        if fault.rate is None:
            return True
        name = f"{self._seed}/{fault.kind}/{fault.field}/{record_id}".encode()
        return int.from_bytes(blake2b(name, digest_size=8).digest()) < fault.rate * _ALL


def _is_spared(fault: Fault, asked: ListRequest) -> bool:
    if not (fault.spares and asked.fields):
        return False
    return fault.field is None or fault.field.lower() not in {path[0] for path in asked.fields}


def _spoil(record: dict[str, Any], fault: Fault) -> dict[str, Any]:
    name = fault.field or ("futureField" if fault.kind == "unknown_field" else _first_text(record))
    old = record.get(name)
    match fault.kind:
        case "unknown_field":
            new = fault.value if fault.value is not None else "from a later release"
        case "wrong_type":
            new = fault.value if fault.value is not None else _of_another_type(old)
        case "nul":
            new = f"{old or ''}\0after"
        case _:
            new = None
    return {**record, name: new}


def _first_text(record: dict[str, Any]) -> str:
    return next((name for name, value in record.items() if isinstance(value, str)), "name")


def _of_another_type(value: Any) -> Any:  # noqa: ANN401
    return {"unexpected": value} if isinstance(value, str) else "not what it was"
