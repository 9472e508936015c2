"""Claims: one process does a piece of work, and a dead process's claim is taken over."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from etab.errors import StorageError
from etab.storage import claims
from etab.storage.claims import Holder, claimed, is_abandoned, read_claim, take_claim


def _claim_of(path: Path, holder: Holder, *, age: float = 0.0) -> None:
    path.write_text(json.dumps(asdict(holder)))
    now = path.stat().st_mtime
    os.utime(path, (now - age, now - age))


def _elsewhere() -> Holder:
    return replace(Holder.this_process(), host="another", boot="another")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """A clock of this process that the test moves."""
    time = [1000.0]
    monkeypatch.setattr(claims.time, "monotonic", lambda: time[0])

    def move(seconds: float) -> None:
        time[0] += seconds

    return move


def test_one_of_several_gets_a_claim(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "cell.claim"
    with claimed(path, "a cell") as first, claimed(path) as second:
        assert [first, second] == [True, False]
        found = read_claim(path)
        assert found is not None
        assert [found.pid, found.work] == [os.getpid(), "a cell"]
    assert not list(path.parent.iterdir())


def test_the_claim_of_a_dead_process_of_this_machine_is_taken_at_once(tmp_path: Path) -> None:
    path = tmp_path / "cell.claim"
    code = (
        "import os, sys; from pathlib import Path; from etab.storage.claims import take_claim; "
        "take_claim(Path(sys.argv[1])); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    assert path.exists()
    assert take_claim(path) is not None


def test_a_number_that_another_process_has_now_is_no_sign_of_life(tmp_path: Path) -> None:
    path = tmp_path / "cell.claim"
    _claim_of(path, replace(Holder.this_process(), started="1"))
    assert is_abandoned(path)


@pytest.mark.parametrize("holder", [_elsewhere(), None], ids=["another machine", "half written"])
@pytest.mark.parametrize("age", [3600.0, -3600.0], ids=["old", "after a jump of the clock"])
def test_an_old_claim_is_taken_over_once_it_was_watched(
    holder: Holder | None, age: float, tmp_path: Path, clock: Callable[[float], None]
) -> None:
    path = tmp_path / "cell.claim"
    _claim_of(path, holder or _elsewhere(), age=age)
    if holder is None:
        stamp = path.stat().st_mtime
        path.write_text("{")
        os.utime(path, (stamp, stamp))
    assert take_claim(path) is None
    clock(claims.WATCHED + 1)
    claim = take_claim(path)
    assert claim is not None
    claim.release()
    assert not list(tmp_path.iterdir())


def test_a_claim_that_is_touched_stays(tmp_path: Path, clock: Callable[[float], None]) -> None:
    path = tmp_path / "cell.claim"
    _claim_of(path, _elsewhere(), age=3600.0)
    assert take_claim(path) is None
    stamp = path.stat().st_mtime + 10  # its holder lives, and clocks differ by an hour
    os.utime(path, (stamp, stamp))
    clock(claims.WATCHED + 1)
    assert take_claim(path) is None
    _claim_of(path, _elsewhere())  # young, whoever watches it for how long
    clock(claims.WATCHED + 1)
    assert take_claim(path) is None


def test_a_claim_that_was_taken_over_is_not_released(tmp_path: Path) -> None:
    path = tmp_path / "cell.claim"
    claim = take_claim(path)
    assert claim is not None
    _claim_of(path, _elsewhere())
    claim.release()
    assert read_claim(path) == _elsewhere() or path.exists()


def test_a_claim_is_touched_while_it_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class StopError(Exception):
        pass

    def stop(_: float) -> None:
        raise StopError

    claim = take_claim(tmp_path / "cell.claim")
    assert claim is not None
    os.utime(claim.path, (1.0, 1.0))
    monkeypatch.setattr(claims.time, "sleep", stop)
    with pytest.raises(StopError):
        claims._beat()
    assert claim.path.stat().st_mtime > 2.0
    claim.release()


def test_a_slow_process_leaves_the_claim_of_a_fast_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both see an abandoned claim; the fast one takes it over before the slow one removes it."""
    path = tmp_path / "cell.claim"
    dead = replace(Holder.this_process(), started="1")
    _claim_of(path, dead)
    fast = take_claim(path)
    assert fast is not None
    answers = [dead]  # what the slow process read before
    monkeypatch.setattr(
        claims, "read_claim", lambda file: answers.pop() if answers else read_claim(file)
    )
    assert not claims._remove(path)
    assert fast.is_held()
    fast.release()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="Check the folder and its permissions"):
        take_claim(tmp_path / "file" / "cell.claim")
