"""etab challenge: entries run in copies under limits, compared and scored; unpacked safely; answers written from results."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from etab import phantom
from etab.challenges.cinc2016 import run_cinc2016
from etab.challenges.circor2022 import run_circor2022
from etab.challenges.export import answers_2016, export_cinc2016, export_circor2022
from etab.challenges.limits import Limits, run_limited
from etab.challenges.scoring import read_answers, read_references
from etab.challenges.unpack import unpack_entry
from etab.cli.main import app
from etab.datasets.circor import CircorSource
from etab.errors import (
    CorruptFileError,
    DataNotFoundError,
    EntryError,
    LayoutError,
    ResultError,
    SplitError,
    UnsupportedOptionError,
)
from etab.results import Predictions, Result
from etab.types import Kind
from tests.children import hearing_control_c

ROOT = Path(__file__).resolve().parents[2]
QUICK = Limits(20, 512, 64)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("challenge")
    phantom.write_sounds(folder, patients=12, seed=7)
    return folder


@pytest.fixture(scope="module")
def truth(made: Path) -> dict[str, int]:
    return {
        name: row.label
        for name, row in read_references(made / "cinc2016" / "validation")[0].items()
    }


def entry(folder: Path, truth: dict[str, int], body: str = "", setup: str = "") -> Path:
    """An entry that knows the truth; ``body`` is run before it answers."""
    folder.mkdir()
    rows = "".join(f"{name},{label}\n" for name, label in truth.items())
    for name, text in (
        ("AUTHORS.txt", "Nobody\n"),
        ("LICENSE.txt", "none\n"),
        ("answers.txt", rows),
        ("known.txt", rows),
    ):
        (folder / name).write_text(text)
    (folder / "setup.sh").write_text(f"#!/bin/bash\nset -e\n{setup}\ntouch compiled\n")
    (folder / "next.sh").write_text(
        f'#!/bin/bash\nset -e\ntest -f compiled\n{body}\ntest -s "$1.wav"\ngrep "^$1," known.txt >> answers.txt\n'
    )
    return folder


def zipped(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, file.name)
    return path


def tarred(folder: Path, path: Path) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, ".")
    return path


# --- 2016 ---


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
        ("echo $1,7 > answers.txt; exit 0", "which is no answer"),
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
    with pytest.raises(UnsupportedOptionError, match=r"no sandbox.*--trust"):
        run_cinc2016(path, made / "cinc2016", tmp_path / "out")
    with pytest.raises(UnsupportedOptionError, match=r"no sandbox.*--trust"):
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
        EntryError, match=r"e is no entry of CinC 2016: next\.sh, LICENSE\.txt missing"
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
    assert "goes on from there" in said
    assert read_answers(tmp_path / "out" / "answers.txt") == {min(truth): truth[min(truth)]}
    last = int((tmp_path / "pid").read_text())
    state = Path(f"/proc/{last}/stat")
    assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z"


# --- unpacking ---


def archive(
    path: Path, members: list[tuple[str, bytes]], links: tuple[tuple[str, str], ...] = ()
) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
            for name, data in members:
                out.writestr(name, data)
            for name, to in links:
                info = zipfile.ZipInfo(name)
                info.external_attr = 0o120777 << 16
                out.writestr(info, to)
        return path
    with tarfile.open(path, "w:gz") as out:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            out.addfile(info, io.BytesIO(data))
        for name, to in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, to
            out.addfile(info)
    return path


@pytest.mark.parametrize("suffix", ["zip", "tar.gz"])
@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
@pytest.mark.parametrize(
    ("members", "links", "said"),
    [
        ([("../evil", b"x")], [], "leads out of the entry"),
        ([("a/../../evil", b"x")], [], "leads out of the entry"),
        ([("/tmp/evil", b"x")], [], "leads out of the entry"),
        ([("..\\evil", b"x")], [], "leads out of the entry"),
        ([("C:/evil", b"x")], [], "leads out of the entry"),
        ([("a", b"x")], [("next.sh", "/etc/passwd")], "link or device"),
        ([("a", b"x")], [("out", "..")], "link or device"),
        ([("a", b"x"), ("a", b"y")], [], "'a' twice"),
        ([(f"f{i}", b"") for i in range(60)], [], "more than 50 files"),
        ([("bomb", bytes(3_000_000))], [], "unpacks to more than 1,000,000 bytes"),
        ([(f"b{i}", bytes(300_000)) for i in range(5)], [], "unpacks to more than 1,000,000 bytes"),
    ],
)
def test_archives_that_are_refused(tmp_path: Path, suffix: str, members, links, said: str) -> None:
    path = archive(tmp_path / f"e.{suffix}", members, links)
    with pytest.raises(EntryError, match=said):
        unpack_entry(path, tmp_path / "deep" / "in", most_bytes=1_000_000, most_files=50)
    left = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert left == [path], "nothing is left behind"
    assert not Path("/tmp/evil").exists()


@pytest.mark.parametrize(
    ("local", "central", "value", "said"),
    [
        (8, 10, 77, "not supported"),
        (6, 8, 0x20, "patched"),
        (6, 8, 0x40, "strong encryption"),
        (4, 6, 99, "version 9.9"),
    ],
)
def test_packings_that_nobody_reads_are_named(
    local: int, central: int, value: int, said: str, tmp_path: Path
) -> None:
    odd = bytearray(archive(tmp_path / "odd.zip", [("next.sh", b"1")]).read_bytes())
    for mark, at in ((b"PK\3\4", local), (b"PK\1\2", central)):  # in both headers of the member
        odd[odd.index(mark) + at] = value
    (tmp_path / "odd.zip").write_bytes(odd)
    with pytest.raises(
        EntryError, match=rf"odd\.zip is packed in a way that is not read here: .*{said}.*deflate"
    ):
        unpack_entry(tmp_path / "odd.zip", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_more_archives_that_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"PK\3\4 not a zip")
    (tmp_path / "b.tar.gz").write_bytes(b"\x1f\x8b not gzip")
    whole = archive(tmp_path / "c.tar.gz", [("next.sh", bytes(range(256)) * 99)]).read_bytes()
    (tmp_path / "c.tar.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "d.tar.gz").write_bytes(b"")
    for name in "a.zip", "b.tar.gz", "c.tar.gz", "d.tar.gz":
        with pytest.raises(EntryError, match=f"{name}"):
            unpack_entry(tmp_path / name, tmp_path / "out")
        assert not (tmp_path / "out").exists()
    (tmp_path / "e.rar").touch()
    with pytest.raises(EntryError, match=r"neither a folder nor a \.zip"):
        unpack_entry(tmp_path / "e.rar", tmp_path / "out")
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "in.txt").write_text("1")
    (tmp_path / "f" / "also.txt").symlink_to("in.txt")
    assert (unpack_entry(tmp_path / "f", tmp_path / "g") / "also.txt").read_text() == "1"
    (tmp_path / "f" / "out.txt").symlink_to(tmp_path / "e.rar")
    with pytest.raises(EntryError, match=r"out\.txt is a link that leads out"):
        unpack_entry(tmp_path / "f", tmp_path / "h")


def test_a_bomb_of_headers_is_stopped_while_it_is_unpacked(tmp_path: Path) -> None:
    import gzip

    info = tarfile.TarInfo("x")
    info.pax_headers = {"comment": "y" * 60_000_000}
    with gzip.open(tmp_path / "e.tar.gz", "wb", compresslevel=1) as out:
        out.write(info.tobuf(tarfile.PAX_FORMAT))
    with pytest.raises(EntryError, match="unpacks to more than 1,000,000 bytes"):
        unpack_entry(tmp_path / "e.tar.gz", tmp_path / "out", most_bytes=1_000_000)


# --- 2022 ---

TRAIN = """
import sys, pathlib
data, model = map(pathlib.Path, sys.argv[1:3])
seen = sorted(p.stem for p in data.glob('*.txt'))
rows = [line for p in data.glob('*.txt') for line in p.read_text().splitlines()[1:] if line[0] != '#']
assert all((data / row.split()[3]).is_file() for row in rows)
assert all('#Murmur: ' in p.read_text() for p in data.glob('*.txt'))
(model / 'seen.txt').write_text(' '.join(seen))
"""
RUN = """
import sys, pathlib
model, data, outputs = map(pathlib.Path, sys.argv[1:4])
seen = (model / 'seen.txt').read_text().split()
for path in sorted(data.glob('*.txt')):
    text = path.read_text()
    assert path.stem not in seen
    assert '#Age: ' in text and 'urmur' not in text and 'Outcome' not in text and 'audible' not in text, text
    assert not list(data.glob('*.tsv')) and not list(data.glob('*.csv'))
    assert all((data / line.split()[2]).is_file() for line in text.splitlines()[1:] if line[0] != '#')
    rows = ['#' + path.stem, 'Present,Unknown,Absent,Abnormal,Normal', '1,0,0,1,0', '.5,.3,.2,.6,.4', '']
    (outputs / (path.stem + '.csv')).write_text(chr(10).join(rows))
"""


def entry_2022(folder: Path, train: str = TRAIN, answer: str = RUN) -> Path:
    folder.mkdir()
    (folder / "train_model.py").write_text(train)
    (folder / "run_model.py").write_text(answer)
    return folder


def test_cross_validation_is_by_person_and_hides_the_answers(made: Path, tmp_path: Path) -> None:
    train = (
        TRAIN + f"\nopen('{tmp_path}/log', 'a').write((model / 'seen.txt').read_text() + chr(10))"
    )
    path = zipped(entry_2022(tmp_path / "e", train), tmp_path / "e.zip")
    done = run_circor2022(
        path, made / "circor", tmp_path / "out", trust=True, n_fold=3, train=QUICK, answer=QUICK
    )
    assert (done.patients, done.people) == (12, 10)
    assert done.score.murmur.accuracy_classes[0] == 1.0
    assert "3-fold" in done.render()
    records = CircorSource(made / "circor").records()
    person = {r.meta["id"]: r.patient for r in records}
    trained = [set(line.split()) for line in (tmp_path / "log").read_text().splitlines()]
    assert len(trained) == 3
    for ids in trained:
        tested = set(person) - ids
        assert not {person[i] for i in ids} & {person[i] for i in tested}
    assert sum(12 - len(ids) for ids in trained) == 12


def test_a_stopped_cross_validation_goes_on(made: Path, tmp_path: Path) -> None:
    path = entry_2022(tmp_path / "e", TRAIN + f"\nopen('{tmp_path}/log', 'a').write('x')")

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    options = {"trust": True, "n_fold": 3, "train": QUICK, "answer": QUICK}
    with pytest.raises(KeyboardInterrupt):
        run_circor2022(path, made / "circor", tmp_path / "out", progress=stop, **options)
    assert 0 < len(list((tmp_path / "out" / "outputs").glob("*.csv"))) < 12
    run_circor2022(path, made / "circor", tmp_path / "out", **options)
    assert (tmp_path / "log").read_text() == "xxx"


def halves(made: Path, tmp_path: Path, first: list[int], second: list[int]) -> list[Path]:
    from tests.trees.sounds import small_circor

    return [
        small_circor(made / "circor", tmp_path / name, tuple(rows))
        for name, rows in (("a", first), ("b", second))
    ]


def test_hold_out_folders_and_people_on_both_sides(made: Path, tmp_path: Path) -> None:
    train, test = halves(made, tmp_path, [0, 1, 2, 4, 5], [3, 6, 7])
    path = entry_2022(tmp_path / "e")
    done = run_circor2022(
        path, train, tmp_path / "out", trust=True, hold_out=test, train=QUICK, answer=QUICK
    )
    assert done.patients == 3
    assert "trained on 5 patients" in done.protocol
    (tmp_path / "two").mkdir()
    train, test = halves(made, tmp_path / "two", [0, 1], [2, 3])
    with pytest.raises(SplitError, match=r"1 patients of .* the same person"):
        run_circor2022(path, train, tmp_path / "out2", trust=True, hold_out=test)


def test_entries_of_2022_that_fail(made: Path, tmp_path: Path) -> None:
    options = {"trust": True, "n_fold": 2, "train": QUICK, "answer": QUICK}
    for k, (train, answer, said) in enumerate(
        (
            (
                "import sys; sys.exit('out of data')",
                RUN,
                r"train_model\.py ended with status 1: out of data",
            ),
            ("import time; time.sleep(30)", RUN, r"train_model\.py was stopped after 0\.5 s"),
            (TRAIN, "pass", r"run_model\.py left \d patients without an output"),
            (
                TRAIN,
                RUN + "\n(outputs / '1.csv').write_text('x')",
                r"wrote 1 of nobody it was asked for \(1\)",
            ),
            (TRAIN, RUN.replace(",.2,", ",high,"), "score of Absent is 'high'"),
        )
    ):
        path = entry_2022(tmp_path / f"e{k}", train, answer)
        limits = {**options, "train": Limits(0.5, 512)} if "sleep" in train else options
        with pytest.raises(EntryError, match=said):
            run_circor2022(path, made / "circor", tmp_path / f"o{k}", **limits)
        assert not (tmp_path / f"o{k}" / "outputs").exists()
    (path / "run_model.py").unlink()
    with pytest.raises(EntryError, match=r"run_model\.py missing"):
        run_circor2022(path, made / "circor", tmp_path / "o", **options)


# --- from results ---


def saved(folder: Path, task: str, dataset: str, table: Predictions) -> Path:
    result = Result(
        task=task,
        task_version=1,
        backbone="mel_stats",
        head="logistic",
        protocol="cv5",
        seed=0,
        dataset=dataset,
        phantom=True,
        metric="auroc",
        value=0.5,
        low=0.4,
        high=0.6,
        level=0.95,
        interval="bootstrap",
        metrics={},
        folds=[],
        nested=None,
        n_train=1,
        n_test=len(table.items),
        n_patients=1,
        weights_sha256="",
        data_digest="",
        features_key="",
        settings={},
        missing=[],
        predictions_sha256=table.sha256(),
        anchor_low=0.0,
        anchor_high=1.0,
    )
    return result.save(folder, table)


def binary(items: list[str], score: list[float], answer: list[float] | None = None) -> Predictions:
    columns = {"truth": np.zeros(len(items)), "score": np.array(score)}
    if answer is not None:
        columns["answer"] = np.array(answer)
    return Predictions(Kind.BINARY, tuple(items), tuple(items), ("fold0",) * len(items), columns)


def test_scores_become_answers() -> None:
    table = binary(["a0001", "b0001", "c0001"], [0.2, 0.5, 0.8])
    assert answers_2016(table)[0] == {"a0001": -1, "b0001": 1, "c0001": 1}
    assert answers_2016(table, threshold=0.6)[0] == {"a0001": -1, "b0001": -1, "c0001": 1}
    assert answers_2016(table, unsure=(0.3, 0.7))[0] == {"a0001": -1, "b0001": 0, "c0001": 1}
    own = binary(["a0001", "b0001", "c0001"], [0.2, 0.5, 0.8], [1.0, 0.5, 0.0])
    assert answers_2016(own)[0] == {"a0001": 1, "b0001": 0, "c0001": -1}
    assert "training folds" in answers_2016(own)[1]
    assert answers_2016(own, threshold=0.5)[0]["a0001"] == -1
    for options, said in (
        ({"threshold": 1.5}, "from 0 to 1"),
        ({"threshold": 0.5, "unsure": (0, 1)}, "one of them"),
        ({"unsure": (0.6, 0.4)}, "low < high"),
    ):
        with pytest.raises(UnsupportedOptionError, match=said):
            answers_2016(table, **options)
    with pytest.raises(ResultError, match="no records such as a0001, first 'a0001#0'"):
        answers_2016(binary(["a0001#0"], [0.5]))


def test_a_result_becomes_an_answers_file(
    made: Path, tmp_path: Path, truth: dict[str, int]
) -> None:
    names = [*sorted(truth), "e99999"]
    right = [0.9 if truth.get(n, 1) == 1 else 0.1 for n in names]
    path = saved(tmp_path / "r", "f0-PH-N", "cinc2016", binary(names, right))
    done = export_cinc2016(path, tmp_path / "out", data=made / "cinc2016")
    assert read_answers(tmp_path / "out" / "answers.txt") == truth, "the copies alone"
    assert done.scores["official"].score.macc == 1
    facts = json.loads((tmp_path / "out" / "answers.json").read_text())
    assert (facts["decided"], facts["results"][0]["phantom"]) == ("abnormal from 0.5 on", True)
    assert (
        len(read_answers(Path(export_cinc2016(path, tmp_path / "all").folder) / "answers.txt"))
        == 13
    )
    short = saved(tmp_path / "s", "f0-PH-N", "cinc2016", binary(names[1:], right[1:]))
    with pytest.raises(ResultError, match=f"1 of validation, first {names[0]}"):
        export_cinc2016(short, tmp_path / "no", data=made / "cinc2016")
    assert not (tmp_path / "no").exists()
    other = saved(tmp_path / "s", "a0-A4-C", "camus", binary(names, right))
    with pytest.raises(ResultError, match="of a0-A4-C on camus; wanted a result of abnormal"):
        export_cinc2016(other, tmp_path / "no")
    path.with_suffix(".csv").write_text("changed")
    with pytest.raises(ResultError, match="not the table"):
        export_cinc2016(path, tmp_path / "no")


def test_two_results_become_an_entry_of_2022(made: Path, tmp_path: Path) -> None:
    source = CircorSource(made / "circor")
    facts = {r.meta["id"]: r.meta for r in source.records()}
    names = sorted(facts)
    right = np.array([("Present", "Unknown", "Absent").index(facts[n]["murmur"]) for n in names])
    columns = {"truth": right, **{f"score_{k}": (right == k) * 0.8 + 0.1 for k in range(3)}}
    table = Predictions(Kind.CLASSES, tuple(names), tuple(names), ("f",) * len(names), columns)
    murmur = saved(tmp_path / "r", "f1-AL-D", "circor", table)
    sick = [0.9 if facts[n]["outcome"] == "Abnormal" else 0.1 for n in names]
    outcome = saved(tmp_path / "r", "f2-AL-D", "circor", binary(names, sick))
    done = export_circor2022([outcome, murmur], tmp_path / "out", data=made / "circor")
    score = done.scores["2022"]
    assert (score.murmur.weighted_accuracy, score.outcome.accuracy, score.repaired) == (1, 1, 0)
    assert (tmp_path / "out" / "outputs" / f"{names[0]}.csv").read_text().splitlines()[
        0
    ] == f"#{names[0]}"
    with pytest.raises(ResultError, match="already holds outputs"):
        export_circor2022([outcome, murmur], tmp_path / "out")
    with pytest.raises(ResultError, match="one result of each; got murmur"):
        export_circor2022([murmur], tmp_path / "no")
    fewer = saved(tmp_path / "s", "f2-AL-D", "circor", binary(names[1:], sick[1:]))
    with pytest.raises(ResultError, match=f"1 are in one of them alone, first {names[0]}"):
        export_circor2022([murmur, fewer], tmp_path / "no")
    decided = binary(names, sick, [1 - round(s) for s in sick])
    wrong = saved(tmp_path / "t", "f2-AL-D", "circor", decided)
    done = export_circor2022([murmur, wrong], tmp_path / "own", data=made / "circor")
    assert done.scores["2022"].outcome.accuracy == 0, "the table's own decisions are written"
    done = export_circor2022(
        [murmur, wrong], tmp_path / "mine", data=made / "circor", threshold=0.5
    )
    assert done.scores["2022"].outcome.accuracy == 1


# --- commands ---


def etab(*words: object) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "etab", *map(str, words)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        env=env,
    )


def asked(*words: object) -> Any:
    return CliRunner().invoke(app, ["challenge", *map(str, words)])


def test_commands(made: Path, tmp_path: Path, truth: dict[str, int]) -> None:
    path, data = entry(tmp_path / "e", truth), made / "cinc2016"
    done = etab("challenge", "cinc2016", path, "--data", data, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "no sandbox" in done.stderr
    run = asked("cinc2016", path, "--data", data, "--out", tmp_path / "out", "--yes", "--json")
    assert run.exit_code == 0, run.output
    assert json.loads(run.stdout)["scores"]["official"]["score"]["macc"] == 1
    (path / "answers.txt").write_text("a0001,1\n")
    run = asked(
        "cinc2016", path, "--data", data, "--out", tmp_path / "other", "--trust", "--seconds", "30"
    )
    assert run.exit_code == 1, "answers differ"
    run = asked(
        "circor2022",
        entry_2022(tmp_path / "t"),
        "--data",
        made / "circor",
        "--out",
        tmp_path / "c",
        "--trust",
        "--n-fold",
        "2",
    )
    assert "weighted accuracy" in run.stdout, run.output
    for words, said in (
        (("cinc2016", path, "--threshold", "0.5", "--trust"), "--threshold acts with --from alone"),
        (("circor2022",), "Name an ENTRY to run, or a result with --from"),
        (("cinc2016", path, "--from", "x.json"), "not both"),
        (
            ("circor2022", path, "--trust", "--data", made / "circor", "--python", "pyhton"),
            "no interpreter 'pyhton'",
        ),
        (
            ("circor2022", path, "--trust", "--hold-out", path, "--n-fold", "3"),
            "--n-fold acts without --hold-out alone",
        ),
        (
            ("circor2022", path, "--trust", "--hold-out", path, "--seed", "3"),
            "--seed acts without --hold-out alone",
        ),
    ):
        assert said in str(asked(*words, "--out", tmp_path / "b").exception)


def test_commands_from_results(made: Path, tmp_path: Path, truth: dict[str, int]) -> None:
    result = saved(tmp_path / "r", "f0-PH-N", "cinc2016", binary(sorted(truth), [0.5] * len(truth)))
    words = ("cinc2016", "--from", result, "--out", tmp_path / "a", "--data", made / "cinc2016")
    run = asked(*words, "--unsure", "0.4,0.6")
    assert run.exit_code == 0, run.output
    assert "12 answered unsure" in run.stdout
    run = asked(*words, "--unsure", "0.4,0.6", "--json")
    assert json.loads(run.stdout)["answers"] == len(truth), run.output
    assert "wanted two numbers" in str(asked(*words, "--unsure", "some").exception)
    for idle in (
        ("--seconds", "9"),
        ("--setup-seconds", "9"),
        ("--memory", "99"),
        ("--disk", "99"),
        ("--trust",),
    ):
        assert f"{idle[0]} acts with an ENTRY alone" in str(asked(*words, *idle).exception)
    for idle in (
        ("--hold-out", "x"),
        ("--n-fold", "3"),
        ("--seed", "3"),
        ("--python", "x"),
        ("--train-seconds", "9"),
        ("--seconds", "9"),
        ("--memory", "99"),
        ("--disk", "99"),
        ("--trust",),
    ):
        said = asked("circor2022", "--from", result, "--out", tmp_path / "b", *idle).exception
        assert f"{idle[0]} acts with an ENTRY alone" in str(said)
    assert "names 2 results" in str(asked(*words, "--from", result).exception)
    wrong = asked("circor2022", "--from", result, "--out", tmp_path / "b").exception
    assert "wanted a result of murmur or outcome" in str(wrong)
