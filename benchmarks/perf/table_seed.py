"""Processor time of one division into folds: the heads of the boards beside those of one layer.

A run divides the patients of CAMUS once into five folds (``cv5``) and fits all tasks of a group for one
backbone, from cached features, in one thread. Now: ``stack`` for numbers and classes, ``mask_logistic``
for masks. Before: ``ridge`` and ``logistic`` on the one layer that is best inside, ``linear_seg``. What the
same command takes when everything is finished is subtracted from both. A run shares between tasks what
they have in common, with either kind of head. CAMUS is found as ``etab run`` finds it
(``ETAB_CAMUS_DIR``), or phantom patients stand for it; ``ETAB_PERF_CACHE`` names a folder whose features
are used, where they are computed already.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.perf.rows import Row
from benchmarks.perf.table_stacked import camus_runs, data_of
from benchmarks.perf.table_start import measured

PRETRAINED = (
    "efficientnet_lite0",
    "efficientnet_lite2",
    "hed_vgg16",
    "mobilenetv2",
    "vits14_saliency",
)
BACKBONES = (*PRETRAINED, *(f"random/{name}" for name in PRETRAINED), "image_stats", "pixel_pca")
"""The backbones of the CAMUS board."""
AIM = 1.5
"""How many times longer one division may take now."""


@dataclass(frozen=True)
class Group:
    """Tasks that are fitted together.

    Attributes:
        title: What they ask for.
        tasks: Their codes.
        now: The heads of the boards.
        before: The heads of one layer.
    """

    title: str
    tasks: str
    now: str
    before: str


GROUPS = (
    Group("EF, phase, view and EF below 50", "b0,b1,c0,d0", "stack", "ridge,logistic"),
    Group("masks of three structures", "a0,a1,a2", "mask_logistic", "linear_seg"),
)


def seconds_of_fits(command: Sequence[str], results: Path) -> float:
    """Processor seconds of a run, without what it takes when every cell is finished.

    Args:
        command: The run, without its folder of results.
        results: An empty folder.
    """
    words = [*command, "--results", str(results)]
    whole, _ = measured(words, rounds=1, threads="1")
    finished, _ = measured(words, rounds=1, threads="1")
    return whole - finished


def row_of(title: str, ours: float, before: float, heads: str) -> Row:
    """One line: how long one division takes now, and took before."""
    return Row(
        task=f"{title} (aim: at most {AIM:g} times as long; {ours / before:.2f} times)",
        ours=ours,
        peer_name=heads,
        peer=before,
        wanted=round(1 / AIM, 2),
    )


def times(command: Sequence[str], group: Group, folder: Path) -> Mapping[str, float]:
    """Processor seconds of the fits of a group, "now" and "before"."""
    found = {}
    for when, heads in (("now", group.now), ("before", group.before)):
        run = [*command, "--tasks", group.tasks, "--head", heads]
        found[when] = seconds_of_fits(run, folder / f"{when}-{group.now}")
    return found


def rows() -> Iterator[Row]:
    """Time both kinds of heads for each backbone and each group of tasks, and for all of them."""
    together = {"now": 0.0, "before": 0.0}
    with camus_runs() as (run, folder):
        data = data_of(run)
        for number, backbone in enumerate(BACKBONES):
            command = [*run, "--backbones", backbone, "--protocol", "cv5"]
            home = folder / str(number)
            # The first command leaves the features in the cache.
            warm = [*command, "--tasks", "a0,b0,c0", "--head", "trivial", "--results"]
            subprocess.run([*warm, str(home / "warm")], check=True, stdout=subprocess.DEVNULL)
            of_groups = [times(command, group, home) for group in GROUPS]
            for group, found in zip(GROUPS, of_groups, strict=True):
                title = f"{backbone}, {group.title}, one division of {data}: `{group.now}`"
                yield row_of(title, found["now"], found["before"], f"`{group.before}`")
            whole = {when: sum(found[when] for found in of_groups) for when in together}
            together = {when: together[when] + whole[when] for when in together}
            title = f"{backbone}, all tasks, one division of {data}"
            yield row_of(title, whole["now"], whole["before"], "the heads of one layer")
        title = f"all {len(BACKBONES)} backbones, all tasks, one division of {data}"
        yield row_of(title, together["now"], together["before"], "the heads of one layer")
