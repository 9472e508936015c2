"""Large folders of results and claims: what looking at them takes.

``python -m benchmarks.scale.folders FOLDER --json FILE`` computes one cell on a phantom cohort, and
writes its record under as many seeds and divisions as are asked for. Then it measures what every
run and every user does with such a folder: `etab run` on the finished plan, `etab plan`,
`etab status`, the records that a board reads, and looks at a folder of claims. Each is measured in
a process of its own.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing as mp
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.scale.overhead import many
from etab import phantom
from etab.results.folder import each_result
from etab.runs.data import Data
from etab.runs.execute import CLAIMS
from etab.runs.forecast import forecast
from etab.runs.meters import peak_memory
from etab.runs.record import path_of_run
from etab.runs.run import Run, Settings
from etab.runs.sweep import sweep
from etab.storage.claims import read_claim, remove_abandoned, take_claim


@dataclass(frozen=True, slots=True)
class Taken:
    """What a look has taken.

    Attributes:
        what: What was looked at.
        number: How many cells or claims there were.
        clock: Seconds of the clock.
        processor: Seconds of the processor.
        memory: Bytes by which the memory of the process has grown at most.
    """

    what: str
    number: int
    clock: float
    processor: float
    memory: int


def fill(settings: Settings, runs: list[Run]) -> None:
    """Compute the first cell, and write its record in the place of every other one.

    Args:
        settings: Where the data and the results are.
        runs: The cells, which differ in seed and protocol alone.
    """
    sweep(runs[:1], settings, workers=1, watch=lambda _: nullcontext(lambda _: None))
    first = path_of_run(runs[0], settings.results)
    record = json.loads(first.read_text())
    for run in runs[1:]:
        path = path_of_run(run, settings.results)
        if not path.exists():
            facts = {**record, "protocol": run.protocol_name, "seed": run.seed}
            path.write_text(json.dumps(facts))


def _finished_plan(settings: Settings, runs: list[Run]) -> None:
    sweep(runs, settings, workers=1, watch=lambda _: nullcontext(lambda _: None))


def _forecast(settings: Settings, runs: list[Run]) -> None:
    forecast(runs, settings, Data(settings))


def _records(settings: Settings, _: list[Run]) -> None:
    for _item in each_result(settings.results):
        pass


def _claims(settings: Settings, _: list[Run]) -> None:
    """What `etab status` does with claims."""
    for path in (settings.results / CLAIMS).glob("*"):
        holder = read_claim(path)
        if holder is not None:
            holder.is_dead()


def _dead_claims(settings: Settings, _: list[Run]) -> None:
    """What each start of a run does with claims."""
    remove_abandoned([*(settings.results / CLAIMS).glob("*")], pause=lambda _: None)


def _taken_claims(settings: Settings, _: list[Run]) -> None:
    """What a run does that waits for cells which others compute."""
    for path in list((settings.results / CLAIMS).glob("*")):
        take_claim(path)


def _measure(call: Callable[..., None], settings: Settings, runs: list[Run], sender: Any) -> None:
    before = peak_memory()
    clock = time.perf_counter()
    processor = time.process_time()
    call(settings, runs)
    sender.send(
        (
            time.perf_counter() - clock,
            time.process_time() - processor,
            peak_memory() - before,
        )
    )


def measured(
    what: str, number: int, call: Callable[..., None], settings: Settings, runs: list[Run]
) -> Taken:
    """Measure a look in a fork of this process, which has imported everything.

    Args:
        what: What is looked at.
        number: How many cells or claims there are.
        call: The look.
        settings: Where the results are.
        runs: The cells.
    """
    receiver, sender = mp.Pipe(duplex=False)
    child = mp.get_context("fork").Process(target=_measure, args=(call, settings, runs, sender))
    child.start()
    clock, processor, memory = receiver.recv()
    child.join()
    return Taken(what, number, round(clock, 2), round(processor, 2), memory)


def main() -> None:
    """Make the folders, and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cells", type=int, nargs="+", default=[2000, 40000])
    parser.add_argument("--claims", type=int, default=1000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    data = options.folder / "data"
    if not data.exists():
        phantom.write(data, patients=20, names=("camus",))
    settings = Settings(
        root=data / "camus", results=options.folder / "claims", cache=options.folder / "cache"
    )
    looks: list[Taken] = []
    for number in options.cells:
        runs = many(number)
        here = replace(settings, results=options.folder / f"results-{number}").needing(["b0-A4-C"])
        fill(here, runs)
        looks.append(measured("etab run on the finished plan", number, _finished_plan, here, runs))
        looks.append(measured("etab plan", number, _forecast, here, runs))
        looks.append(measured("etab status reads all records", number, _records, here, runs))
    claims = [
        take_claim(settings.results / CLAIMS / f"{i:064x}", "cell") for i in range(options.claims)
    ]
    number = options.claims
    for what, call in (
        ("etab status looks at claims", _claims),
        ("a run looks for claims of dead processes", _dead_claims),
        ("a run tries cells that others have claimed", _taken_claims),
    ):
        looks.append(measured(what, number, call, settings, []))
    for claim in claims:
        if claim is not None:
            claim.release()
    for look in looks:
        print(look)
    if options.json:
        options.json.write_text(json.dumps([asdict(look) for look in looks], indent=1) + "\n")


if __name__ == "__main__":
    main()
