"""Waiting that works even where a program changes the clocks that this process sees."""

from __future__ import annotations

import select
import time


def pause(seconds: float) -> None:
    """Wait for some time.

    ``time.sleep`` waits until a time of the monotonic clock. It raises ``OSError`` if a program such
    as faketime changes some clocks and not others. Then ``select`` waits instead, which needs no
    clock.

    Args:
        seconds: The time to wait, in s.

    Example:
        >>> pause(0.001)
    """
    try:
        time.sleep(seconds)
    except OSError:
        select.select([], [], [], seconds)
