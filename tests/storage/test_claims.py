"""Claims: one process does a piece of work, and a dead process's claim is taken over."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from etab.errors import EtabWarning, StorageError
from etab.storage import claims
from etab.storage.claims import Claim, Holder, claimed, is_abandoned, read_claim, take_claim


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


def test_a_claim_is_touched_while_it_is_held(tmp_path: Path) -> None:
    claim = take_claim(tmp_path / "cell.claim")
    assert claim is not None
    os.utime(claim.path, (1.0, 1.0))
    claims._touch_all()
    assert claim.path.stat().st_mtime > 2.0
    claim.release()


def test_a_slow_process_leaves_the_claim_of_a_fast_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both see an abandoned claim; the fast one takes it over before the slow one removes it."""
    path = tmp_path / "cell.claim"
    dead = replace(Holder.this_process(), started="1")
    _claim_of(path, dead)
    looked = claims.is_abandoned
    fast: list[Claim | None] = []

    def slow(file: Path) -> bool:
        answer = looked(file)
        if not fast:
            monkeypatch.setattr(claims, "is_abandoned", looked)
            fast.append(take_claim(path))
        return answer

    monkeypatch.setattr(claims, "is_abandoned", slow)
    assert take_claim(path) is None
    assert fast[0] is not None
    assert fast[0].is_held()
    fast[0].release()


def test_a_process_that_may_not_be_looked_at_is_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With hidepid, /proc does not show the processes of other users."""
    path = tmp_path / "cell.claim"
    _claim_of(path, Holder.this_process())
    monkeypatch.setattr(claims, "_started", lambda pid: "")

    def refused(pid: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(claims.os, "kill", refused)
    assert not is_abandoned(path)


def test_a_process_that_another_namespace_shows_is_not_looked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the /proc of a parent namespace, a number stands for a process that has nothing to do."""
    here = str(os.getpid())
    for number in (here, f"{here}0"):
        (tmp_path / number / "ns").mkdir(parents=True)
        (tmp_path / number / "ns" / "pid").symlink_to("pid:[1]")
    monkeypatch.setattr(claims, "_PROC", tmp_path)
    for number, namespace in ((here, "pid:[1]"), (f"{here}0", "")):
        (tmp_path / "self").unlink(missing_ok=True)
        (tmp_path / "self").symlink_to(number)
        assert Holder.this_process().namespace == namespace
        path = tmp_path / "cell.claim"
        _claim_of(path, replace(Holder.this_process(), started="1"))
        assert is_abandoned(path) is bool(namespace)


def test_claims_of_another_machine_are_watched_before_they_are_removed(
    tmp_path: Path, clock: Callable[[float], None]
) -> None:
    old = tmp_path / "old.claim"
    young = tmp_path / "young.claim"
    _claim_of(old, _elsewhere(), age=3600.0)
    _claim_of(young, _elsewhere())
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        clock(seconds + 1)

    assert claims.remove_abandoned([old, young], pause=pause) == [old]
    assert pauses == [claims.WATCHED]
    assert [path.name for path in tmp_path.iterdir()] == ["young.claim"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="check its folder and permissions"):
        take_claim(tmp_path / "file" / "cell.claim")


class _EndOfTest(BaseException):
    """Ends a loop that nothing else ends."""


@pytest.mark.parametrize("step", ["_touch_all", "_wait_for_next_beat"])
def test_the_thread_that_touches_claims_outlives_every_exception(
    step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wait that failed, since somebody had changed a clock, ended it without a word."""
    errors = iter([OSError(22, "Invalid argument"), MemoryError(), ValueError("negative")])
    calls: list[str] = []

    def go_on() -> None:
        calls.append("")

    def fail() -> None:
        go_on()
        raise next(errors, _EndOfTest())

    for name in ("_touch_all", "_wait_for_next_beat"):
        monkeypatch.setattr(claims, name, fail if name == step else go_on)
    with (
        pytest.warns(EtabWarning, match="It goes on and tries again"),
        pytest.raises(_EndOfTest),
    ):
        claims._beat()
    assert len(calls) >= 7


def test_a_claim_that_cannot_be_touched_keeps_no_other_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = [take_claim(tmp_path / name) for name in ("a", "b", "c")]
    real = os.utime

    def utime(path: Path, *rest: object) -> None:
        if path.name == "b":
            raise OSError(116, "Stale file handle")
        real(path, *rest)  # type: ignore[arg-type]

    for claim in held:
        assert claim is not None
        os.utime(claim.path, (1.0, 1.0))
    monkeypatch.setattr(claims.os, "utime", utime)
    with pytest.raises(OSError, match="Stale"):
        claims._touch_all()
    touched = [path.name for path in sorted(tmp_path.iterdir()) if path.stat().st_mtime > 2.0]
    assert touched == ["a", "c"]
    for claim in held:
        assert claim is not None
        claim.release()


def test_a_claim_that_is_released_meanwhile_is_no_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "_BEATING", {})
    claim = take_claim(tmp_path / "cell.claim")
    assert claim is not None
    real = Claim.is_held

    def is_held(claim: Claim) -> bool:
        monkeypatch.setattr(Claim, "is_held", real)
        claim.release()
        return True

    monkeypatch.setattr(Claim, "is_held", is_held)
    claims._touch_all()
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("faketime") is None, reason="needs the program faketime")
@pytest.mark.parametrize("words", [["--exclude-monotonic", "-f", "+2d"], ["-f", "-3d"]])
def test_claims_are_touched_where_faketime_changes_the_clocks(
    words: list[str], tmp_path: Path
) -> None:
    code = (
        "import os, sys, time\nfrom pathlib import Path\nfrom etab.storage import claims, pauses\n"
        "claims.HEARTBEAT = 0.05\nclaim = claims.take_claim(Path(sys.argv[1]))\n"
        "for _ in range(3):\n"
        "    os.utime(claim.path, (1.0, 1.0))\n"
        "    pauses.pause(0.3)\n"
        "    assert claim.path.stat().st_mtime > 2.0\n"
    )
    path = tmp_path / "cell.claim"
    command = ["faketime", *words, sys.executable, "-c", code, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
