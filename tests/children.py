"""Processes that tests start."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator


@contextlib.contextmanager
def hearing_control_c() -> Iterator[None]:
    """Children started inside hear Ctrl-C, also in the background of a shell, where they would ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
