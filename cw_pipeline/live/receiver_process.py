"""The receiver as a child process of the worker, started again when it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from threading import Event, Thread
from typing import TYPE_CHECKING

from cw_pipeline import composition
from cw_pipeline.catalog.callbacks import callback_types
from cw_pipeline.live.registrations import callback_token
from cw_pipeline.paths import child_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from cw_pipeline.settings import Settings

_AFTER_END = 10.0  # seconds


@contextmanager
def receiver_beside(
    tenants: Sequence[Settings], host: str, port: int, say: Callable[[str], None]
) -> Iterator[None]:
    """Inside the block a receiver runs in a process of its own, and is started again if it ends.

    It takes the callbacks of all these tenants, which share a warehouse.
    """
    given = {
        "listeners": [
            {
                "tenant": settings.schema_,
                "site": settings.site,
                "company": settings.company,
                "token": callback_token(settings),
                "wanted": sorted(callback_types(e.name for e in composition.entities(settings))),
            }
            for settings in tenants
        ],
        "address": composition.dsn(tenants[0]),
        "ca_file": tenants[0].ca_file,
        "host": host,
        "port": port,
    }
    ended = Event()

    def start() -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, "-m", "cw_pipeline.live.receiver"],
            stdin=subprocess.PIPE,
            # What it needs of our settings comes by the pipe: the keys of the API are not among it.
            env={k: v for k, v in child_environment().items() if not k.upper().startswith("CW_")},
            text=True,
            start_new_session=True,  # Ctrl-C is for us: it ends when its stdin does
        )
        assert child.stdin is not None
        # By a pipe: other accounts may see arguments, and the address has a password.
        try:
            child.stdin.write(json.dumps(given) + "\n")
            child.stdin.flush()
        except OSError:  # it has ended already
            child.kill()
            child.wait()
            raise
        return child

    child = start()

    def watch() -> None:
        nonlocal child
        while not ended.wait(1.0):
            if (code := child.poll()) is not None:
                say(f"the receiver ended with {code}, and is started again in {_AFTER_END:.0f} s")
                if not ended.wait(_AFTER_END):
                    try:
                        child = start()
                    except OSError as error:
                        say(f"the receiver cannot be started: {error}")

    thread = Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        if child.stdin is not None:
            child.stdin.close()
        child.wait()
