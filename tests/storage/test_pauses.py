"""Waiting goes on where somebody changes the clocks."""

from __future__ import annotations

import time

import pytest

from etab.storage import pauses
from etab.storage.pauses import pause


def test_a_wait_outlives_a_clock_that_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """With `faketime --exclude-monotonic`, every time.sleep fails."""

    def fail(_: float) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(pauses.time, "sleep", fail)
    began = time.monotonic()
    pause(0.02)
    assert time.monotonic() - began >= 0.015
