"""SIGKILL at random moments: the resumed run must end with the results of an undisturbed one.

``python -m benchmarks.scale.kills FOLDER --kills 200`` writes a phantom cohort, runs a plan on it
undisturbed, and runs the plan again while it is killed at random moments. The records (without
their times) and the tables of predictions must then be equal byte for byte, every cached entry must
be as it was written, and nothing unfinished may remain.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from etab import phantom
from etab.features.entries import entry_damage, remove_litter
from etab.runs.execute import CLAIMS

BACKBONES = "image_stats,pixel_pca,random/efficientnet_lite0"


def command(folder: Path, data: Path, workers: int) -> list[str]:
    """Write the command of the plan.

    Args:
        folder: Where results and features go.
        data: Folder of the phantom cohort.
        workers: Number of worker processes.
    """
    return [
        *(sys.executable, "-m", "etab", "run", "--tasks", "a0-A4-C,b0-A4-C,d0-A4"),
        *("--backbones", BACKBONES, "--protocol", "cv3", "--root", str(data / "camus")),
        *("--results", str(folder / "results"), "--cache", str(folder / "cache")),
        *("--workers", str(workers)),
    ]


def killed(words: list[str], seconds: float) -> bool:
    """Run a command, and kill it with all its processes after some seconds.

    Args:
        words: The command.
        seconds: When it is killed.

    Returns:
        Whether the command was still at work.
    """
    process = subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True
    return False


def contents(results: Path) -> dict[str, str]:
    """Read the records without their times, and the tables, by their paths.

    Args:
        results: Folder of results.
    """
    texts: dict[str, str] = {}
    for path in sorted(results.rglob("*")):
        name = str(path.relative_to(results))
        if name.startswith(".") or path.suffix not in (".json", ".csv"):
            continue
        texts[name] = path.read_text()
        if path.suffix == ".json":
            record = json.loads(texts[name])
            record.pop("provenance")
            texts[name] = json.dumps(record)
    return texts


def faults(folder: Path, reference: Path) -> list[str]:
    """List what differs from the undisturbed run, and what was left behind.

    Args:
        folder: Where the killed runs wrote.
        reference: Where the undisturbed run wrote.
    """
    found: list[str] = []
    if contents(folder / "results") != contents(reference / "results"):
        found.append("the results differ from those of the undisturbed run")
    entries = [path.parent for path in (folder / "cache").rglob("entry.json")]
    found += [f"{entry}: {entry_damage(entry)}" for entry in entries if entry_damage(entry)]
    found += [f"{path} is left" for path in (folder / "results" / CLAIMS).glob("*")]
    remove_litter(folder / "cache", older_than=0.0)
    found += [f"{path} is left" for path in (folder / "cache").rglob("*.part")]
    return found


def main() -> None:
    """Kill a plan as often as asked, resume it, and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    data = options.folder / "data"
    phantom.write(data, patients=20, names=("camus",))
    reference = options.folder / "reference"
    started = time.monotonic()
    subprocess.run(command(reference, data, options.workers), check=True)
    whole = time.monotonic() - started
    moments = random.Random(options.seed)
    kills = 0
    cycle = 0
    problems: list[str] = []
    while kills < options.kills:
        folder = options.folder / f"killed-{cycle}"
        words = command(folder, data, options.workers)
        while kills < options.kills and killed(words, moments.uniform(0.1, 1.0) * whole):
            kills += 1
        subprocess.run(words, check=True)
        problems += faults(folder, reference)
        cycle += 1
    print(f"{kills} kills in {cycle} plans of {whole:.0f} s: {len(problems)} faults")
    print("\n".join(problems))
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
