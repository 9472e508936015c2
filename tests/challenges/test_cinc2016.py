"""Entries of CinC 2016: run, compared with their own answers, limited and resumed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from etab.challenges.cinc2016 import run_cinc2016
from etab.challenges.circor2022 import run_circor2022
from etab.challenges.limits import Limits, run_limited
from etab.challenges.scoring import read_answers
from etab.errors import (
    CorruptFileError,
    DataNotFoundError,
    EntryError,
    LayoutError,
    UnsupportedOptionError,
)
from tests.challenges.entries import (
    QUICK,
    ROOT,
    entry,
    tarred,
    zipped,
)
from tests.children import hearing_control_c


@pytest.mark.parametrize("form", ["folder", "zip", "tar.gz"])
def test_an_entry_is_run_compared_and_scored(
    made: Path, tmp_path: Path, truth: dict[str, int], form: str
) -> None:
    path = entry(tmp_path / "e", truth)
    path = {
        "folder": lambda p: p,
        "zip": lambda p: zipped(p, tmp_path / "e.zip"),
        "tar.gz": lambda p: tarred(p, tmp_path / "e.tar.gz"),
    }[form](path)
    seen = []
    done = run_cinc2016(
        path,
        made / "cinc2016",
        tmp_path / "out",
        trust=True,
        setup=QUICK,
        record=QUICK,
        progress=lambda *at: seen.append(at),
    )
    assert done.ok, done.render()
    assert {rule: s.score.macc for rule, s in done.scores.items()} == {
        "official": 1.0,
        "phase1": 1.0,
    }
    assert read_answers(tmp_path / "out" / "answers.txt") == truth
    assert seen == [(k + 1, 12) for k in range(12)]


def test_every_difference_is_listed(made: Path, tmp_path: Path, truth: dict[str, int]) -> None:
    path, names = entry(tmp_path / "e", truth), sorted(truth)
    shipped = {**truth, names[0]: -truth[names[0]], names[1]: 0, "e99999": 1}
    del shipped[names[2]]
    (path / "answers.txt").write_text("".join(f"{n},{v}\n" for n, v in shipped.items()))
    done = run_cinc2016(path, made / "cinc2016", tmp_path / "out", trust=True, record=QUICK)
    assert not done.ok
    assert done.differences == (
        f"{names[0]}: ships {-truth[names[0]]}, gives {truth[names[0]]}",
        f"{names[1]}: ships 0, gives {truth[names[1]]}",
    )
    assert (done.unshipped, done.elsewhere) == ((names[2],), 1)
    assert all(
        row in done.render() for row in (*done.differences, *done.unshipped, "1 shipped answers")
    )


def test_each_record_is_answered_in_a_copy_of_its_own(
    made: Path, tmp_path: Path, truth: dict[str, int]
) -> None:
    """What one record leaves behind no other sees; the answers it ships, labels and other records are out of reach."""
    body = """
test ! -e left
touch left
test ! -e answers.txt
test "$(ls *.wav)" = "$1.wav"
test -z "$(ls | grep -E 'csv|hea|RECORDS')"
test "$(wc -l < known.txt)" = 12
echo more >> known.txt
rm AUTHORS.txt setup.sh
"""
    path = entry(tmp_path / "e", truth, body=body)
    done = run_cinc2016(path, made / "cinc2016", tmp_path / "out", trust=True, record=QUICK)
    assert done.ok, done.render()
    assert (path / "setup.sh").is_file()
    assert not (path / "compiled").exists()


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("sleep 30", "was stopped after 1 s"),
        ("echo lost the model >&2; exit 3", "ended with status 3: lost the model"),
        ("exit 0", "wrote no answers.txt"),
        ("echo $1,7 > answers.txt; exit 0", "which is not an answer"),
        (
            "echo a0001,1 > answers.txt; echo b0001,1 >> answers.txt; exit 0",
            "answered a0001, b0001 instead",
        ),
        ("head -c 100000 /dev/zero > answers.txt; exit 0", "wrote 100,000 bytes of answers"),
        ("ln -s /etc/passwd answers.txt; exit 0", "wrote no answers.txt"),
        ("head -c 9000000 /dev/zero > big", "SIGXFSZ|File too large|status 153"),
        ("kill -9 $$", "was ended by SIGKILL"),
    ],
)
def test_a_record_that_fails_is_named_and_counts_as_unsure(
    made: Path, tmp_path: Path, truth: dict[str, int], body: str, why: str
) -> None:
    name = min(truth)
    path = entry(tmp_path / "e", truth, body=f'if [ "$1" = {name} ]; then {body}; fi')
    done = run_cinc2016(
        path, made / "cinc2016", tmp_path / "out", trust=True, record=Limits(1, 512, 4)
    )
    assert list(done.failures) == [name]
    import re

    assert re.search(why, done.failures[name]), done.failures[name]
    assert not done.ok
    assert done.scores["phase1"].unsure == 1
    assert "count as unsure" in done.render()
    assert name not in read_answers(tmp_path / "out" / "answers.txt"), "no answer is made up"


def test_memory_and_disk_and_processes_are_limited(tmp_path: Path) -> None:
    hungry = "x = []\nwhile True: x.append(bytearray(1 << 20))"
    ended = run_limited([sys.executable, "-c", hungry], tmp_path, Limits(20, 200), home=tmp_path)
    assert "MemoryError" in ended.tail or "MiB of memory" in ended.why, ended
    many = "import os\nfor i in range(400):\n open(f'f{i}','wb').write(bytes(1 << 20))\nimport time; time.sleep(20)"
    ended = run_limited([sys.executable, "-c", many], tmp_path, Limits(20, 200, 20), home=tmp_path)
    assert ended.why == "was stopped after writing more than 20 MiB"
    ended = run_limited(["/bin/bash", "-c", "sleep 77 & echo $!"], tmp_path, QUICK, home=tmp_path)
    assert ended.why == ""
    time.sleep(0.05)
    state = Path(f"/proc/{ended.tail}/stat")
    assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z", (
        "nothing is left running"
    )


def _is_running(pid: str) -> bool:
    state = Path(f"/proc/{pid}/stat")
    return state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z"


def _parent(pid: str) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc on this system")
@pytest.mark.parametrize(
    "start",
    [
        "sleep 77 & echo $!",
        "setsid sleep 77 & echo $!",
        "(setsid bash -c 'echo $$; exec sleep 77' &) ; sleep 0.3",
        "setsid bash -c 'echo $$; setsid sleep 78 & exec sleep 77' & sleep 0.3",
        "(setsid env -i bash -c 'echo $$; exec sleep 77' &) ; sleep 0.3",
        "(setsid env -i bash -c '(setsid env -i bash -c \"echo \\$\\$; exec sleep 77\" &)' &); sleep 0.5",
    ],
)
def test_no_process_is_left_behind(tmp_path: Path, start: str) -> None:
    """Also no daemon, which leaves the session of the command."""
    ended = run_limited(["/bin/bash", "-c", start], tmp_path, QUICK, home=tmp_path)
    assert ended.why == ""
    time.sleep(0.05)
    pid = ended.tail.strip()
    assert not _is_running(pid)
    # Nor a zombie, which only a parent that never waits leaves.
    assert not Path(f"/proc/{pid}").exists() or _parent(pid) != os.getpid()


def test_shipped_answers_are_nowhere_while_the_entry_runs(
    made: Path, tmp_path: Path, truth: dict[str, int]
) -> None:
    """Neither setup.sh nor next.sh finds them, in its folder or beside it."""
    look = 'test -z "$(find "$(dirname "$PWD")" "$HOME" -name answers.txt)"'
    path = entry(tmp_path / "e", truth, body=look, setup=look)
    done = run_cinc2016(path, made / "cinc2016", tmp_path / "out", trust=True, record=QUICK)
    assert done.ok, done.render()
    assert (path / "answers.txt").is_file(), "the entry itself is left as it is"


def test_nothing_is_kept_between_records(made: Path, tmp_path: Path, truth: dict[str, int]) -> None:
    """Not in HOME, not beside the folder, and not at the path that setup.sh knew."""
    setup = 'pwd > where; echo ready > "$HOME/ready"'
    body = """
base=$(cat where)
test "$(cat "$HOME/ready")" = ready
for place in . .. "$HOME" "$base" "$base/.."; do test ! -e "$place/left"; done
for place in . .. "$HOME" "$base" "$base/.."; do touch "$place/left"; done
echo changed > "$HOME/ready"
"""
    path = entry(tmp_path / "e", truth, body=body, setup=setup)
    done = run_cinc2016(path, made / "cinc2016", tmp_path / "out", trust=True, record=QUICK)
    assert done.ok, done.render()


def test_several_processes_share_the_limit_of_memory(tmp_path: Path) -> None:
    each = f"{sys.executable} -c 'x = bytearray(120 << 20); import time; time.sleep(15)'"
    ended = run_limited(
        ["/bin/bash", "-c", f"{each} & {each} & wait"], tmp_path, Limits(15, 200), home=tmp_path
    )
    assert ended.why == "was stopped at more than 200 MiB of memory"


def test_noise_of_any_length_ends_in_a_tail(tmp_path: Path) -> None:
    ended = run_limited(
        ["/bin/bash", "-c", "yes | head -c 20000000; echo the end; exit 1"],
        tmp_path,
        QUICK,
        home=tmp_path,
    )
    assert ended.why == "ended with status 1"
    assert ended.tail.endswith("the end")
    assert len(ended.tail) <= 4000


def test_arguments_are_no_shell_text_and_the_environment_is_small(
    tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setenv("A_SECRET", "yes")
    odd = "$(touch hacked); `touch hacked` ; touch hacked #"
    ended = run_limited(
        ["/bin/bash", "-c", 'echo "$1"; env', "bash", odd], tmp_path, QUICK, home=tmp_path
    )
    assert ended.tail.splitlines()[0] == odd
    assert not (tmp_path / "hacked").exists()
    assert "A_SECRET" not in ended.tail
    assert f"HOME={tmp_path}" in ended.tail


def test_an_entry_runs_on_trust_alone(made: Path, tmp_path: Path, truth: dict[str, int]) -> None:
    path = entry(tmp_path / "e", truth, setup=f"touch {tmp_path}/ran")
    with pytest.raises(UnsupportedOptionError, match=r"not a sandbox.*--trust"):
        run_cinc2016(path, made / "cinc2016", tmp_path / "out")
    with pytest.raises(UnsupportedOptionError, match=r"not a sandbox.*--trust"):
        run_circor2022(path, made / "circor", tmp_path / "out")
    assert not (tmp_path / "ran").exists()


def test_dry_runs_are_checked_and_not_scored(
    made: Path, tmp_path: Path, truth: dict[str, int]
) -> None:
    path = entry(tmp_path / "e", truth)
    (path / "DRYRUN").touch()
    done = run_cinc2016(path, made / "cinc2016", tmp_path / "out", trust=True, record=QUICK)
    assert done.ok
    assert done.scores == {}
    assert "not scored" in done.render()


def test_entries_that_are_refused_before_anything_runs(
    made: Path, tmp_path: Path, truth: dict[str, int]
) -> None:
    data = made / "cinc2016"
    path = entry(tmp_path / "e", truth)
    (path / "next.sh").unlink()
    (path / "LICENSE.txt").unlink()
    with pytest.raises(
        EntryError, match=r"e is not an entry of CinC 2016: next\.sh, LICENSE\.txt missing"
    ):
        run_cinc2016(path, data, tmp_path / "out", trust=True)
    (tmp_path / "w").mkdir()
    entry(tmp_path / "w" / "inner", truth)
    with pytest.raises(EntryError, match="They are in inner/: pack what is in that folder"):
        run_cinc2016(tmp_path / "w", data, tmp_path / "out", trust=True)
    bad = entry(tmp_path / "b", truth)
    (bad / "answers.txt").write_text("a0001,2\n")
    with pytest.raises(EntryError, match="line 1: 'a0001,2'"):
        run_cinc2016(bad, data, tmp_path / "out", trust=True)
    broken = entry(tmp_path / "s", truth, setup="echo no compiler; exit 4")
    with pytest.raises(EntryError, match=r"setup\.sh of .*s ended with status 4: no compiler"):
        run_cinc2016(broken, data, tmp_path / "out", trust=True)
    slow = entry(tmp_path / "t", truth, setup="sleep 20")
    with pytest.raises(EntryError, match=r"setup\.sh of .*t was stopped after 0.3 s"):
        run_cinc2016(slow, data, tmp_path / "out", trust=True, setup=Limits(0.3, 512))
    with pytest.raises(DataNotFoundError, match="nothing does not exist"):
        run_cinc2016(tmp_path / "nothing", data, tmp_path / "out", trust=True)
    with pytest.raises(DataNotFoundError, match="training-q is not a folder"):
        run_cinc2016(slow, data, tmp_path / "out", trust=True, part="training-q")
    for name, value in (("seconds", 0), ("memory", 1), ("disk", 0)):
        with pytest.raises(UnsupportedOptionError, match=f"limit of {name}"):
            Limits(**{"seconds": 1, "memory": 100, "disk": 1, name: value})


def test_copies_that_are_absent_come_from_training(
    made: Path, tmp_path: Path, truth: dict[str, int]
) -> None:
    import shutil

    root = shutil.copytree(made / "cinc2016", tmp_path / "data")
    for path in (root / "validation").glob("*.wav"):
        path.unlink()
    done = run_cinc2016(
        entry(tmp_path / "e", truth), root, tmp_path / "out", trust=True, record=QUICK
    )
    assert done.ok
    name = min(truth)
    sound = root / f"training-{name[0]}" / f"{name}.wav"
    sound.write_bytes(sound.read_bytes()[:400])
    with pytest.raises(CorruptFileError, match=f"{name}.wav is cut short"):
        run_cinc2016(tmp_path / "e", root, tmp_path / "out2", trust=True)
    sound.unlink()
    with pytest.raises(LayoutError, match=f"{name}.wav is missing"):
        run_cinc2016(tmp_path / "e", root, tmp_path / "out2", trust=True)


def test_a_run_that_was_stopped_goes_on_where_it_was(
    made: Path, tmp_path: Path, truth: dict[str, int]
) -> None:
    path = entry(tmp_path / "e", truth, body=f'echo "$1" >> {tmp_path}/asked')
    half = []

    def stop(done: int, total: int) -> None:
        half.append(done)
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_cinc2016(
            path, made / "cinc2016", tmp_path / "out", trust=True, record=QUICK, progress=stop
        )
    usable = read_answers(tmp_path / "out" / "answers.txt")
    assert usable == {name: truth[name] for name in sorted(truth)[:5]}
    done = run_cinc2016(path, made / "cinc2016", tmp_path / "out", trust=True, record=QUICK)
    assert done.ok
    assert (tmp_path / "asked").read_text().split() == sorted(truth), "nothing is asked twice"
    (path / "known.txt").write_text("another model\n")
    with pytest.raises(EntryError, match=r"another run \(entry_sha256 differ\)"):
        run_cinc2016(path, made / "cinc2016", tmp_path / "out", trust=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(EntryError, match="holds other files"):
        run_cinc2016(path, made / "cinc2016", tmp_path / "mine", trust=True)
    (tmp_path / "out" / "records.csv").write_text("record,answer\nx\n")
    (path / "known.txt").write_text((path / "answers.txt").read_text())
    with pytest.raises(EntryError, match=r"records\.csv is damaged"):
        run_cinc2016(path, made / "cinc2016", tmp_path / "out", trust=True)


def interrupted(child: subprocess.Popen[str]) -> str:
    """What a process says that is told to stop, as a person does it: again where Python dropped the first one."""
    try:
        for seconds in (30, 60):
            child.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                return child.communicate(timeout=seconds)[1]
        raise AssertionError("it went on after Ctrl-C")
    finally:
        child.kill()
        child.wait()
        if child.stderr:
            child.stderr.close()


def test_control_c_stops_the_entry_too(made: Path, tmp_path: Path, truth: dict[str, int]) -> None:
    path = entry(
        tmp_path / "e", truth, body=f"echo $$ > {tmp_path}/pid; [ $1 = {min(truth)} ] || sleep 60"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [
        sys.executable,
        "-m",
        "etab",
        "challenge",
        "cinc2016",
        str(path),
        "--data",
        str(made / "cinc2016"),
        "--out",
        str(tmp_path / "out"),
        "--trust",
        "--no-sandbox",
    ]
    with hearing_control_c():
        child = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)
    for _ in range(600):
        if (tmp_path / "out" / "answers.txt").is_file():
            break
        time.sleep(0.05)
    time.sleep(0.3)
    said = interrupted(child)
    assert child.returncode == 130
    assert "run the same command to continue" in said
    assert read_answers(tmp_path / "out" / "answers.txt") == {min(truth): truth[min(truth)]}
    last = int((tmp_path / "pid").read_text())
    state = Path(f"/proc/{last}/stat")
    assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z"
