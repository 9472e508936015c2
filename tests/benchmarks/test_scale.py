"""The benchmarks of scale: the simulated cluster, the kills at writes, and the page of both."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from benchmarks.scale import page
from benchmarks.scale.at_writes import sitecustomize
from benchmarks.scale.campaigns import Campaign, Counts, Notes, claims, final_faults
from benchmarks.scale.kills import keep_row
from benchmarks.scale.simulate import WAYS, Way, World, fit_times, simulated
from etab.runs.execute import CLAIMS

SMALL = World(encoders=20, gpus=8)


def test_the_page_is_written_from_the_measurements() -> None:
    assert page.main(check=True) == 0


def test_a_simulated_plan_takes_the_time_of_its_work() -> None:
    """With one GPU and a file system without delay, times add up."""
    world = World(encoders=3, gpus=1, spread=0.0, requests=1e12, delay=0.0, start=0.0)
    outcome = simulated(world, Way("units", is_units=True), [10.0])
    assert outcome.hours == pytest.approx(3 * 8 * (60 + 5 * 10) / 3600, abs=0.06)
    assert outcome.embedding == pytest.approx(60 / 110, abs=0.01)


def test_runs_that_wait_for_each_other_take_longer() -> None:
    hours = {
        postpones: simulated(
            SMALL, Way("runs", is_units=False, postpones=postpones), [5.0, 10.0]
        ).hours
        for postpones in (False, True)
    }
    assert hours[False] > 3 * hours[True]


@pytest.mark.slow
def test_the_table_of_the_simulation_follows_the_published_results() -> None:
    """Its times of fits are theirs: the table is to be made again when they change."""
    kept = json.loads((page.FOLDER / "simulation.json").read_text())["outcomes"]
    way, changes = WAYS[3]
    assert asdict(simulated(World(**changes), way, fit_times())) in kept


def test_a_simulation_repeats_itself() -> None:
    for way, changes in WAYS:
        world = replace(SMALL, encoders=4, **changes)
        assert simulated(world, way, [5.0]) == simulated(world, way, [5.0])


def test_times_of_fits_are_those_of_published_cells() -> None:
    assert len(fit_times()) > 100


@pytest.mark.parametrize(("number", "written"), [(1, []), (2, ["0"]), (3, ["0"]), (9, ["0", "1"])])
def test_a_process_stops_at_the_write_that_is_named(
    number: int, written: list[str], tmp_path: Path
) -> None:
    """Odd numbers come before the call, even ones after it. Another process does not stop."""
    code = """
import os, sys
for i in range(2):
    path = os.path.join(sys.argv[1], str(i))
    with open(path + ".part", "w") as file:
        os.fsync(file.fileno())
    os.replace(path + ".part", path)
"""
    folder = tmp_path / "results"
    folder.mkdir()
    stop = tmp_path / "stopped"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        env={
            **os.environ,
            "PYTHONPATH": str(Path(sitecustomize.__file__).parent),
            sitecustomize.NUMBER: str(number),
            sitecustomize.FOLDER: str(folder),
            sitecustomize.STOPPED: str(stop),
        },
    )
    state = os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    assert state is not None
    assert (state.si_code == os.CLD_STOPPED) == stop.exists() == (number < 9)
    assert sorted(path.name for path in folder.iterdir() if not path.suffix) == written
    if stop.exists():
        assert int(stop.read_text()) == process.pid
        os.kill(process.pid, signal.SIGCONT)  # a process that is let go on finishes its work
    assert process.wait(timeout=60) == 0
    assert sorted(path.name for path in folder.iterdir()) == ["0", "1"]


@pytest.mark.parametrize(
    ("executor", "workers", "victim", "forks", "message"),
    [
        ("slurm", 2, "raylet", False, "slurm has no 'raylet' to kill"),
        ("local", 2, "driver", False, "Known: run, worker, parent, child, asked, int"),
        ("local", 5, "run", False, "the plan has 2 backbones"),
        ("slurm", 1, "run", False, "Possible: 2"),
        ("ray", 0, "run", False, "Possible: 1, 2"),
        ("local", 1, "worker", False, "the child of the command computes"),
        ("ray", 2, "run", True, "ray starts its processes itself"),
    ],
)
def test_a_campaign_that_cannot_be_is_refused(
    executor: str, workers: int, victim: str, forks: bool, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Campaign(executor, workers, "both", victim, 1, 0, forks)


@pytest.mark.parametrize(
    ("executor", "workers", "victim", "most"),
    [
        ("local", 1, "run", 1),
        ("local", 2, "run", 2),
        ("local", 2, "worker", 2),
        ("ray", 1, "raylet", 1),
        ("ray", 2, "raylet", 2),
        ("ray", 2, "worker", 1),
        ("slurm", 2, "worker", 1),
        ("slurm", 2, "parent", 0),
    ],
)
def test_a_kill_may_cost_the_work_of_the_processes_that_it_ends(
    executor: str, workers: int, victim: str, most: int
) -> None:
    campaign = Campaign(executor, workers, "both", victim, 1, 0)
    assert campaign.n_stopped() == most
    words = campaign.command(Path("results"), Path("data"))
    assert ("--workers" in words) == (executor == "local")
    assert any(word.startswith("cpus=") for word in words) == (executor == "ray")


def test_a_claim_that_is_being_written_is_no_claim_yet(tmp_path: Path) -> None:
    """A process that is stopped just then has made an empty file."""
    folder = tmp_path / "results" / CLAIMS
    folder.mkdir(parents=True)
    (folder / "a").touch()
    assert claims(tmp_path) == {}
    (folder / "a").write_text("{}")
    assert list(claims(tmp_path).values()) == [folder / "a"]


def test_half_a_record_that_a_killed_process_left_is_litter(tmp_path: Path) -> None:
    """A record of a failed cell is a fault at the end of a plan; its temporary file is removed."""
    failed = tmp_path / "killed" / "results" / ".failed"
    failed.mkdir(parents=True)
    (tmp_path / "reference").mkdir()
    notes = Notes(Counter(), Counter(), 0, 0)
    (failed / "tmpm2z90n46.part").touch()
    assert final_faults(tmp_path / "killed", tmp_path / "reference", notes) == []
    (failed / ("a" * 64)).touch()
    (fault,) = final_faults(tmp_path / "killed", tmp_path / "reference", notes)
    assert fault.endswith("a is left")


def test_a_campaign_has_one_row_whenever_it_is_stopped(tmp_path: Path) -> None:
    """A campaign that goes on replaces its row; the counts of another one stay."""
    file = tmp_path / "kills.json"
    for seed, fitting in ((1, 2), (2, 5), (1, 7)):
        campaign = Campaign("local", 2, "both", "worker", 200, seed)
        counts = Counts(phases=Counter(fitting=fitting, outside=3))
        keep_row(file, {**asdict(campaign), **counts.facts()})
    rows = json.loads(file.read_text())
    assert [(row["seed"], row["kills"]) for row in rows] == [(2, 5), (1, 7)]


def test_kills_are_summed_for_each_executor() -> None:
    campaigns = [
        {
            **asdict(Campaign(executor, 2, "both", "worker", 200, seed)),
            **Counts(phases=Counter(fitting=fitting, merging=1, outside=9)).facts(),
        }
        for executor, seed, fitting in (("ray", 1, 2), ("local", 2, 5), ("ray", 3, 7))
    ]
    text = page.kills(campaigns)
    assert "| ray | 11 | 0 | 2 | 9 | 0 | 0 |" in text
    assert "| local, workers | 6 | 0 | 1 | 5 | 0 | 0 |" in text


def test_what_differs_or_came_twice_is_a_fault(tmp_path: Path) -> None:
    for name in ("killed", "reference"):
        (tmp_path / name / "results").mkdir(parents=True)
        (tmp_path / name / "results" / "a.csv").write_text("1")
    notes = Notes(Counter(), Counter({"0-32": 2, "32-64": 1}), 0, 0)
    places = tmp_path / "killed", tmp_path / "reference"
    assert final_faults(*places, notes) == ["0-32 was finished 2 times"]
    (tmp_path / "killed" / "results" / "a.csv").write_text("2")
    assert "differ from those of the undisturbed run" in final_faults(*places, notes)[0]


def test_what_is_finished_is_noted_once(tmp_path: Path) -> None:
    """Also by a worker process, which imports the file by itself and with the main program."""
    code = """
import os, sys
import benchmarks.scale.at_writes.sitecustomize
with open(sys.argv[1] + "/a.part", "w"):
    pass
os.mkdir(sys.argv[1] + "/b.part")
os.replace(sys.argv[1] + "/a.part", sys.argv[1] + "/a")
"""
    folder = tmp_path / "results"
    folder.mkdir()
    paths = [str(Path(sitecustomize.__file__).parent), str(Path(page.__file__).parents[2])]
    subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        check=True,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            sitecustomize.COUNTS: str(tmp_path / "notes"),
            sitecustomize.FOLDER: str(folder),
        },
    )
    assert (tmp_path / "notes").read_text().splitlines() == [f"{folder}/b.part", f"{folder}/a"]
