"""What is good for a process of our own, and must not be done to somebody else's.

Commands, Dagster's code location and the benchmark call `tune_process` when they start; a
`Pipeline` in a notebook never does.
"""

from __future__ import annotations

import ctypes
import sys
from threading import Timer

_LOADED = 60  # seconds
_MALLOC = {-8: 1, -1: 64 << 20, -3: 3 << 20}
"""malloc.h: M_ARENA_MAX; M_TRIM_THRESHOLD and M_MMAP_THRESHOLD in bytes."""


def tune_process() -> None:
    """Sets what is set once for a process: the allocator's options, the hooks of retries."""
    from cw_pipeline.connectwise import silence_stamina  # noqa: PLC0415 - httpx, for the other one

    silence_stamina()
    # The rows of pages, megabytes each, are put where others were before. glibc else asks the
    # system for each anew, which has to zero it; and it keeps a heap for every thread, so that the
    # blocks of one are of no use to another. Inflated bodies are larger, and go back at once: they
    # would leave holes of 5 MB.
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):  # musl has none
        for option, value in _MALLOC.items():
            libc.mallopt(option, value)


def give_memory_back() -> None:
    """Gives the system what was freed, which glibc keeps: after a start, 4 to 17 MB a process."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)


def give_memory_back_once_loaded() -> None:
    """The same a minute from now, once a process that stays has loaded what it works with."""
    loaded = Timer(_LOADED, give_memory_back)
    loaded.daemon = True
    loaded.start()
