"""Commands, their exit codes, and what they say when something is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.children import hearing_control_c
from tests.commands import ROOT, etab, etab_process


@pytest.fixture(scope="module")
def cohort(phantom_tree: Callable[..., Path]) -> Path:
    return phantom_tree(["camus"], patients=20)


def test_help_is_quick_and_names_the_commands() -> None:
    before = os.times()
    run = etab_process("--help")
    assert run.returncode == 0
    after = os.times()
    seconds = sum(after[2:4]) - sum(before[2:4])  # computed by the child, whatever else runs
    assert seconds < 3
    listed = [line.split() for line in run.stdout.partition("Commands:")[2].splitlines() if line]
    names = [words[0] for words in listed]
    assert names[:4] == ["demo", "doctor", "list", "data"]
    assert names.index("run") < names.index("leaderboard") < names.index("version")
    assert not any(words[-1].endswith("...") for words in listed), "a description is cut"


@pytest.mark.parametrize(
    "what", ["datasets", "targets", "views", "backbones", "heads", "metrics", "tasks", "cross"]
)
def test_lists(what: str) -> None:
    run = etab("list", what, "--markdown")
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("| ")
    assert len(run.stdout.splitlines()) > 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("list", "backbone"), "Did you mean 'backbones'"),
        (("run", "--backbones", "mobilenet_v2"), "Did you mean 'mobilenetv2'"),
        (("run", "--tasks", "a0-A4-Cc", "--backbones", "pixel_pca"), "Did you mean 'a0-A4-C'"),
        (
            ("run", "--precision", "fp8", "--backbones", "mobilenetv2"),
            "Known: auto, fastest, fp32, bf16",
        ),
        (("leaderboard", "nowhere"), "No result files in nowhere"),
        (("data", "check", "camus", "--root", "nowhere"), "nowhere"),
        (("data", "phantom", "x", "--patients", "2"), "greater than or equal to 10. `etab"),
    ],
)
def test_mistakes_are_a_message_and_exit_2(
    words: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    run = etab(*words, cwd=tmp_path)
    assert run.returncode == 2, run.stdout + run.stderr
    assert said in run.stderr
    assert "Traceback" not in run.stderr


def test_check_run_rank(cohort: Path, tmp_path: Path) -> None:
    checked = etab("data", "check", "camus", "--root", cohort / "camus", "--json")
    assert json.loads(checked.stdout)
    words = (
        "run",
        "--tasks",
        "b0-A4,b1-A4,c0",
        "--backbones",
        "image_stats,pixel_pca",
        "--protocol",
        "cv",
        "--root",
        cohort / "camus",
        "--results",
        tmp_path / "r",
        "--cache",
        tmp_path / "c",
    )
    first = etab_process(*words)  # with as many workers as there are cores
    assert first.returncode == 0, first.stderr
    assert "6 cells computed, 0 already finished" in first.stdout
    assert "0 cells computed, 6 already finished" in etab(*words).stdout
    suite = tmp_path / "mine.toml"
    suite.write_text('name = "mine"\nversion = 1\ntasks = ["b0-A4-C", "b1-A4-C", "c0-AX-C"]\n')
    ranked = etab(
        "leaderboard",
        tmp_path / "r",
        "--suite",
        suite,
        "--html",
        tmp_path / "b.html",
        "--csv",
        tmp_path / "b.csv",
        "--markdown",
        tmp_path / "b.md",
        "--category-weight",
        "b=2",
    )
    assert ranked.returncode == 0, ranked.stderr
    assert "PHANTOM" in ranked.stdout
    assert all("phantom" in (tmp_path / f).read_text().lower() for f in ("b.html", "b.csv", "b.md"))
    wrong = etab("leaderboard", tmp_path / "r", "--suite", suite, "--category-weight", "b=two")
    assert wrong.returncode == 2
    assert "NAME=WEIGHT" in wrong.stderr


@pytest.mark.slow
def test_one_backbone_that_fails_leaves_the_others(cohort: Path, tmp_path: Path) -> None:
    run = etab_process(
        "run",
        "--tasks",
        "b0",
        "--backbones",
        "mobilenetv2,pixel_pca",
        "--protocol",
        "cv",
        "--root",
        cohort / "camus",
        "--results",
        tmp_path / "r",
        "--cache",
        tmp_path / "c",
        ETAB_CACHE=str(tmp_path),
        PIP_NO_INDEX="1",
        PIP_FIND_LINKS=str(tmp_path),
    )
    assert run.returncode == 1
    assert "2 cells computed" in run.stdout
    assert "mobilenetv2, 2 cells: The weights of mobilenetv2 are in the package" in run.stdout
    assert len(list((tmp_path / "r").rglob("*.json"))) == 2


def test_doctor_says_what_to_do_next(cohort: Path, tmp_path: Path) -> None:
    run = etab("doctor", cwd=tmp_path, ETAB_DATA=str(cohort))
    assert run.returncode == 0, run.stderr
    assert "PHANTOM" in run.stdout
    bare = etab("doctor", cwd=tmp_path)
    assert "etab data phantom" in bare.stdout


@pytest.mark.slow
def test_demo_ends_with_a_leaderboard_and_same_seed_same_bytes(tmp_path: Path) -> None:
    trees = []
    for name in ("a", "b"):
        run = etab_process("demo", tmp_path / name, "--patients", "20")
        assert run.returncode == 0, run.stderr
        assert "efficientnet_lite0" in run.stdout
        assert "PHANTOM" in (tmp_path / name / "leaderboard.html").read_text()
        files = sorted((tmp_path / name / "results").rglob("*.csv"))
        trees.append({f.relative_to(tmp_path / name).as_posix(): f.read_bytes() for f in files})
    assert trees[0] == trees[1]
    assert len(trees[0]) == 52


@pytest.mark.slow
def test_interrupted_work_is_kept(cohort: Path, tmp_path: Path) -> None:
    import signal

    words = [
        "run",
        "--backbones",
        "image_stats,pixel_pca",
        "--protocol",
        "cv",
        "--root",
        str(cohort / "camus"),
        "--results",
        str(tmp_path / "r"),
        "--cache",
        str(tmp_path / "c"),
        "--workers",
        "2",
    ]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with hearing_control_c():
        child = subprocess.Popen(
            [sys.executable, "-m", "etab", *words],
            cwd=ROOT,
            env=env,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    deadline = time.time() + 120
    while (
        len(list((tmp_path / "r").rglob("*.json"))) < 3
        and time.time() < deadline
        and child.poll() is None
    ):
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=60)
    if child.returncode == 0:
        pytest.skip("the run was over before it could be interrupted")
    assert child.returncode == 130
    assert "Finished work is saved" in said
    kept = len(list((tmp_path / "r").rglob("*.json")))
    assert kept >= 3
    again = etab_process(*words)
    assert again.returncode == 0, again.stderr
    assert "0 cells computed" not in again.stdout


@pytest.mark.slow
def test_workers_end_with_the_run(cohort: Path, tmp_path: Path) -> None:
    import signal

    words = [
        "run",
        "--backbones",
        "image_stats,pixel_pca",
        "--root",
        str(cohort / "camus"),
        "--results",
        str(tmp_path / "r"),
        "--cache",
        str(tmp_path / "c"),
        "--workers",
        "2",
    ]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(
        [sys.executable, "-m", "etab", *words],
        cwd=ROOT,
        env=env,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.time() + 120
    while (
        len(list((tmp_path / "r").rglob("*.json"))) < 1
        and time.time() < deadline
        and child.poll() is None
    ):
        time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    child.wait(timeout=30)
    deadline = time.time() + 30
    while time.time() < deadline:
        try:
            os.killpg(child.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.2)
    os.killpg(child.pid, signal.SIGKILL)
    pytest.fail("workers went on after their run was killed")
