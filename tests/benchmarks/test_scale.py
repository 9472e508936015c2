"""The benchmarks of scale: the simulated cluster, the kills at writes, and the page of both."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.scale import page
from benchmarks.scale.at_writes import sitecustomize
from benchmarks.scale.simulate import WAYS, Way, World, fit_times, simulated

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


def test_a_simulation_repeats_itself() -> None:
    for way, changes in WAYS:
        world = replace(SMALL, encoders=4, **changes)
        assert simulated(world, way, [5.0]) == simulated(world, way, [5.0])


def test_times_of_fits_are_those_of_published_cells() -> None:
    assert len(fit_times()) > 100


@pytest.mark.parametrize(("number", "written"), [(1, []), (2, ["0"]), (3, ["0"]), (9, ["0", "1"])])
def test_a_process_is_killed_at_the_write_that_is_named(
    number: int, written: list[str], tmp_path: Path
) -> None:
    """Odd numbers come before the call, even ones after it."""
    code = """
import os, sys
for i in range(2):
    path = os.path.join(sys.argv[1], str(i))
    with open(path + ".part", "w") as file:
        os.fsync(file.fileno())
    os.replace(path + ".part", path)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        start_new_session=True,
        env={
            **os.environ,
            "PYTHONPATH": str(Path(sitecustomize.__file__).parent),
            sitecustomize.NUMBER: str(number),
            sitecustomize.FOLDER: str(tmp_path),
            sitecustomize.GROUP: "0",
        },
    )
    status = process.wait(timeout=60)
    assert status == (0 if number == 9 else -signal.SIGKILL)
    assert sorted(path.name for path in tmp_path.iterdir() if not path.suffix) == written


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
