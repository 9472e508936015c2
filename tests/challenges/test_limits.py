"""Programs that try to outlive their run, to lead out of their folder, or to fill the machine."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from etab.challenges import limits
from etab.challenges.limits import Ended, Limits, _size, remove_all, run_limited, scratch_folder

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")


def _run(work: Path, code: str, limits: Limits) -> Ended:
    for name in ("home", "entry"):
        (work / name).mkdir(parents=True, exist_ok=True)
    command = ["/bin/bash", "-c", code]
    return run_limited(command, work / "entry", limits, home=work / "home", watched=work)


def _running(words: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if words in text:
            found.append(text)
    return found


@pytest.mark.parametrize("seen_by", ["number of tasks of the machine", "look at each process"])
def test_processes_that_start_processes_are_stopped_at_a_number(
    seen_by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tree of 63 processes; nothing of it is left. Either of two looks alone stops it."""
    if seen_by == "look at each process":
        monkeypatch.setattr(limits, "_n_tasks", lambda: 0)
    else:
        monkeypatch.setattr(limits, "_LOOK_EVERY", 60.0)
    tree = "b(){ if [ $1 -gt 0 ]; then b $(($1-1)) & b $(($1-1)) & fi; exec sleep 61.7; }; b 5"
    ended = _run(tmp_path / "w", tree, Limits(20, 500, 20, processes=20))
    assert ended.why == "was stopped at more than 20 processes"
    assert ended.seconds < 15
    assert _running("sleep 61.7") == []


def test_processes_of_other_sessions_end_with_the_run(tmp_path: Path) -> None:
    code = "for i in 1 2 3; do setsid sleep 62.3 & done; sleep 0.1"
    ended = _run(tmp_path / "w", code, Limits(20, 500, 20))
    assert ended.why == ""
    assert _running("sleep 62.3") == []


@pytest.mark.parametrize("name", ["entry", "home"])
def test_a_link_in_the_place_of_a_folder_is_named(name: str, tmp_path: Path) -> None:
    """The next step would copy a sound, and remove answers.txt, wherever the link leads."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    code = f"cd ..; mv {name} other; ln -s {elsewhere} {name}"
    ended = _run(tmp_path / "w", code, Limits(20, 500, 20))
    assert ended.why == f"removed its folder {name}, or put a link in its place"


def test_what_is_written_at_once_counts(tmp_path: Path) -> None:
    code = "for i in 1 2 3; do head -c 900000 /dev/zero > f$i; done"
    ended = _run(tmp_path / "w", code, Limits(20, 500, 2))
    assert ended.why == "wrote more than 2 MiB"


def test_files_without_content_take_room_too(tmp_path: Path) -> None:
    for i in range(50):
        (tmp_path / f"{i}").touch()
    assert _size(tmp_path) == 50 * 1024


def test_folders_nested_beyond_any_path_are_stopped_and_removed(tmp_path: Path) -> None:
    """No path leads to them: they can neither be counted nor be removed by name."""
    name = "a" * 200
    code = f"for i in $(seq 40); do mkdir {name}; cd {name}; done"
    ended = _run(tmp_path / "w", code, Limits(20, 500, 20))
    assert ended.why == "wrote more than 20 MiB"
    remove_all(tmp_path / "w")
    assert not (tmp_path / "w").exists()


def test_a_scratch_folder_goes_whatever_is_in_it(tmp_path: Path) -> None:
    with scratch_folder("etab-test-") as folder:
        (folder / "closed").mkdir()
        (folder / "closed" / "file").touch()
        (folder / "closed").chmod(0)
        (folder / "link").symlink_to(tmp_path)
    assert not folder.exists()
    assert tmp_path.exists()
