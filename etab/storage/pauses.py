"""Waiting, also where somebody changes the clocks of the machine or of this process."""

from __future__ import annotations

import select
import time


def pause(seconds: float) -> None:
    """Wait, whatever the clocks say.

    ``time.sleep`` waits until a moment of the monotonic clock, which fails where a program such as
    faketime changes some clocks and not others. The wait then is one of the system that knows no
    clock.

    Args:
        seconds: How long, in s.

    Example:
        >>> pause(0.001)
    """
    try:
        time.sleep(seconds)
    except OSError:
        select.select([], [], [], seconds)
