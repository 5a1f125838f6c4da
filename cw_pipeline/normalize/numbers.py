"""Numbers exactly as sent, each made once: a tenant's amounts are the same few thousand."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

import msgspec

_MOST = 100_000
FARTHEST = 16_000  # digits from the point; Postgres holds 16,383 behind it
_TEXT = msgspec.json.Decoder(str)


class Numbers(dict[bytes, Decimal | None]):
    """The number behind each spelling, with every digit, trailing zeros too; None for null.

    Equal spellings give the same object, which lets the load know it again. Looking up anything
    that is no finite number raises ValueError.
    """

    def __missing__(self, spelling: bytes) -> Decimal | None:
        if spelling == b"null":
            return None
        text = _TEXT.decode(spelling) if spelling.startswith(b'"') else spelling.decode()
        try:
            made = Decimal(text)
        except InvalidOperation:
            raise ValueError(f"no number: {text[:80]}") from None
        if not made.is_finite() or abs(made.adjusted()) > FARTHEST:
            raise ValueError(f"no number that Postgres holds: {text[:80]}")
        if len(self) > _MOST:
            self.clear()
        self[spelling] = made
        return made


NUMBERS = Numbers()
