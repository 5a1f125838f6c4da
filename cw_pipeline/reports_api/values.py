"""Rows of reports, typed by the reports' column definitions."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from cw_pipeline.model import Column, Kind, Row
from cw_pipeline.transform.copy_format import is_held
from cw_pipeline.transform.raw_json import JSON, OddNumber, storable, strip

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd

_FLAGS = {"true": True, "false": False, "1": True, "0": False}


def coerce_rows(columns: Sequence[Column], rows: Sequence[Sequence[Any]]) -> list[Row]:
    """Each row's values as their columns' kinds, and at the end what would not fit, as JSON.

    Nothing is rounded: numbers are Decimal. Instants without a zone are taken as UTC.
    """
    import pandas as pd  # noqa: PLC0415 - takes a second, and few runs read a report

    frame = pd.DataFrame(rows, columns=[column.name for column in columns], dtype=object)
    whole = frame.astype(object).where(frame.notna(), None)
    shown = {column.name: _CONVERT[column.kind](whole[column.name]) for column in columns}
    misfits = [_misfits(column.name, whole[column.name], shown[column.name]) for column in columns]
    extra = [_extra(fields) for fields in zip(*misfits, strict=True)]
    return list(zip(*shown.values(), extra, strict=True))


def _misfits(name: str, before: pd.Series[Any], after: list[Any]) -> list[tuple[str, Any] | None]:
    lost = [
        was is not None and was != "" and now is None
        for was, now in zip(before, after, strict=True)
    ]
    return [(name, was) if gone else None for was, gone in zip(before, lost, strict=True)]


def _extra(fields: tuple[tuple[str, Any] | None, ...]) -> bytes | None:
    kept = dict(each for each in fields if each is not None)
    return JSON.encode(storable(kept)) if kept else None


def _numbers(values: pd.Series[Any]) -> list[Any]:
    return [_decimal_of(value) for value in values]


def _decimal_of(value: Any) -> Decimal | None:
    if type(value) not in (int, Decimal, str):
        return None  # a flag is no number
    try:
        number = Decimal(value)
    except InvalidOperation:
        return None
    return number if is_held(number) else None


def _instants(values: pd.Series[Any]) -> list[Any]:
    # Of "now" and "today" pandas makes the moment at which they are read.
    dated = values.map(lambda value: isinstance(value, str) and value.lstrip()[:1].isdigit())
    text = values.where(dated, None)
    import pandas as pd  # noqa: PLC0415 - as above

    stamps = pd.to_datetime(text, utc=True, errors="coerce", format="ISO8601")
    # Years that pandas cannot count to, such as 9999, are Python's.
    return [
        _instant(value) if beyond or stamp.year < 1 else stamp.to_pydatetime()
        for value, stamp, beyond in zip(text, stamps, stamps.isna(), strict=True)
    ]


def _instant(value: str | None) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value or "")
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def _flags(values: pd.Series[Any]) -> list[Any]:
    return [_FLAGS.get(str(value).lower()) for value in values]


def _texts(values: pd.Series[Any]) -> list[Any]:
    return [_text(value) for value in values]


def _text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, str | Decimal | OddNumber):
        return str(strip(str(value)))
    return json.dumps(storable(value), default=str)


_CONVERT: dict[Kind, Callable[[Any], list[Any]]] = {
    Kind.NUMERIC: _numbers,
    Kind.TIMESTAMPTZ: _instants,
    Kind.BOOLEAN: _flags,
    Kind.TEXT: _texts,
}
