"""Numbers exactly as sent, each packed once: a tenant's amounts are the same few thousand."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

import msgspec

from cw_pipeline.transform import copy_format

_MOST = 100_000
FARTHEST = 16_000  # digits from the point; Postgres holds 16,383 behind it
_PLAIN = re.compile(rb"-?\d{1,1000}(\.\d{1,1000})?").fullmatch
_TEXT = msgspec.json.Decoder(str)


class PackedNumbers(dict[bytes, bytes | None]):
    """The number behind each spelling, packed, with every digit, trailing zeros too; None for null.

    Looking up anything that is no finite number raises ValueError.
    """

    def __missing__(self, spelling: bytes) -> bytes | None:
        if spelling == b"null":
            return None
        digits = spelling if _PLAIN(spelling) else _written_out(spelling)
        if len(self) > _MOST:
            self.clear()
        packed = self[spelling] = copy_format.numeric(digits)
        return packed


def _written_out(spelling: bytes) -> bytes:
    text = _TEXT.decode(spelling) if spelling.startswith(b'"') else spelling.decode()
    try:
        made = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"no number: {text[:80]}") from None
    if not made.is_finite() or abs(made.adjusted()) > FARTHEST:
        raise ValueError(f"no number that Postgres holds: {text[:80]}")
    return f"{made:f}".encode()


NUMBERS = PackedNumbers()
