"""Everything that can go wrong, grouped by what to do next.

PipelineError
├─ ConfigError          fix the setting it names; nothing was read
├─ WarehouseError       fix the warehouse: unreachable, or not as it should be
│  ├─ DataRefused       load the records apart: the one it is about becomes a dead letter
│  ├─ WarehouseLocked   let the transaction end that it names, then run it again
│  └─ WarehouseNewer    restart the process: cw_pipeline was upgraded since it began
├─ SourceError          ConnectWise did not give a good answer
│  ├─ SourceBusy        wait `retry_after` seconds, then ask again (429)
│  ├─ SourceDown        ask again later: no connection, no answer in time
│  │  └─ SourceUnreachable  end the run: nothing answers, company info neither
│  ├─ SourceBroken      ask again; what stays broken is poisoned (5xx, 408, a body that is no JSON)
│  ├─ SourceDenied      stop the run, fix the setting it names: the keys (401), the site ...
│  ├─ SourceForbidden   give the API member's role this entity (403); other entities go on
│  ├─ SourceMissing     not there; on a list never "empty" (404)
│  └─ SourceRefused     do not ask again (400, 405, 409, 415, a redirect)
├─ EntityBusy           another run has this entity; wait until it ends
├─ TooManyRejects       look at the dead letters before the watermark moves
├─ UnexpectedError      a fault of this program: report it with the traceback in the log
└─ Interrupted          run it again: it goes on from there
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Iterable


class PipelineError(Exception):
    """Base of every error this package raises on purpose."""


class ConfigError(PipelineError):
    """A setting is missing or makes no sense. The message names it and says how to mend it."""


class WarehouseError(PipelineError):
    """The warehouse cannot be used as it is."""


class DataRefused(WarehouseError):
    """Postgres refused a value or a row, not the work. `column` is where, if it says."""

    def __init__(self, message: str, column: str = "") -> None:
        super().__init__(message)
        self.column = column


class WarehouseLocked(WarehouseError):
    """Somebody's open transaction keeps a table or view from being changed. Nothing was."""


class WarehouseNewer(WarehouseError):
    """The warehouse is at a migration that this process does not know. It wrote nothing."""


_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_BEGINNING = 8  # letters of a secret: the rest of it may be cut off, or escaped


def printable(text: str) -> str:
    """A text of somebody else's, as Postgres stores it and a terminal shows it.

    NULs, half surrogates and control characters, of which escape sequences are made, are U+FFFD.
    """
    return _UNPRINTABLE.sub("\ufffd", text.replace("\r\n", "\n"))


def _without(secrets: Iterable[str], text: str) -> str:
    for secret in secrets:
        text = re.sub(re.escape(secret[:_BEGINNING]) + r"[^\s\x22'<>,]*", "***", text)
    return text


class SourceError(PipelineError):
    """ConnectWise did not give a good answer. `status` is the HTTP status, 0 without one.

    `seconds` is how long the request took that failed, without the wait for leave to send it;
    `request` is that request, as people read it; empty where none is to blame.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(printable(message))
        self.status = status
        self.seconds = 0.0
        self.request = ""

    def leave_out(self, secrets: Iterable[str]) -> None:
        """Takes out what its texts must not say, though somebody answered it."""
        self.args = (_without(secrets, str(self)),)

    @property
    def reason(self) -> str:
        """The message without the request at its beginning."""
        said = str(self).removeprefix(f"{self.request}: ")
        return f"ConnectWise answered {said}" if said.startswith(f"{self.status}") else said


class SourceBusy(SourceError):
    """The request volume exceeds capacity: wait `retry_after` seconds (None: not said)."""

    def __init__(self, message: str, status: int = 429, retry_after: float | None = None) -> None:
        super().__init__(message, status)
        self.retry_after = retry_after


class SourceDown(SourceError):
    """No connection, or no answer in time. `timed_out` says which."""

    def __init__(self, message: str, *, timed_out: bool = False) -> None:
        super().__init__(message)
        self.timed_out = timed_out


class SourceUnreachable(SourceDown):
    """Nothing at all has answered for as long as a patient question is repeated."""


class SourceBroken(SourceError):
    """An answer came that cannot be used: a server error, or a body that is not the JSON due.

    `is_too_large`: it is larger than CW_MAX_ANSWER_MB, so that only a shorter page can help.
    """

    def __init__(
        self, message: str, status: int = 0, answer: str = "", *, is_too_large: bool = False
    ) -> None:
        super().__init__(message, status)
        self.answer = printable(answer)
        self.is_too_large = is_too_large

    @override
    def leave_out(self, secrets: Iterable[str]) -> None:
        super().leave_out(secrets)
        self.answer = _without(secrets, self.answer)


class SourceDenied(SourceError):
    """No request would fare better, for the reason and the setting that the message names.

    The keys were refused (401), the company is not known, or a certificate is not trusted.
    """


class SourceForbidden(SourceError):
    """The API member's security role may not read this (403)."""


class SourceMissing(SourceError):
    """Nothing at this address (404)."""


class SourceRefused(SourceError):
    """The request itself is wrong; the same request will be refused again."""


class EntityBusy(PipelineError):
    """Another runner holds this entity."""


class TooManyRejects(PipelineError):
    """More of a pass was rejected than a healthy pass ever rejects."""


class UnexpectedError(PipelineError):
    """A fault of this program, in the run of one entity or beside them.

    `__cause__` is what was raised, unless Dagster has kept it.
    """


class Interrupted(PipelineError):
    """Whoever asked wants no more. What was read until then is kept."""


ENDS_THE_RUN = (SourceDenied, SourceUnreachable)
"""What no other entity would fare better with."""
