"""Memory that a process no longer uses, given back to the machine."""

from __future__ import annotations

import ctypes
import sys


def give_back() -> None:
    """Ask the C library to return what it holds and nobody uses; without glibc there is nothing to ask.

    Fits allocate and free matrices of many sizes; glibc keeps the pieces, and a worker would grow with every backbone.
    """
    if not sys.platform.startswith("linux"):
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
