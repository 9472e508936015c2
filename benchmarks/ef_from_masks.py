"""EF that the CAMUS masks themselves give, against the labels, in both conventions.

``python -m benchmarks.ef_from_masks --root CAMUS`` prints MAE, bias and r over all patients, and again without the two
whose labels look like a swap of the 2-chamber phases (patient0185, patient0217).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from etab import datasets
from etab.datasets.base import Source
from etab.echo.volumes import LongAxis, area_length, biplane_ef, ejection_fraction, long_axis
from etab.types import FloatArray, Record

SUSPECT = ("patient0185", "patient0217")


def axes(source: Source, record: Record) -> tuple[LongAxis, LongAxis]:
    """Long axes at ED and ES of one recording."""
    ed, es = source.phases(record) or (0, 1)
    masks = {
        name: {a.at: a.value for a in source.answers(record, source.card.target(name), (ed, es))}
        for name in ("LV_seg", "LA_seg")
    }
    spacing = source.spacing(record) or (1.0, 1.0)
    found = [long_axis(masks["LV_seg"][at], masks["LA_seg"][at], spacing) for at in (ed, es)]
    return found[0], found[1]


def measured(source: Source) -> tuple[list[str], FloatArray, dict[str, FloatArray]]:
    """Patients, labels, and the EF of each rule."""
    views: dict[str, dict[str, Record]] = {}
    for record in source.records():
        views.setdefault(record.patient, {})[record.view] = record
    labels, found = [], []
    for pair in views.values():
        two, four = axes(source, pair["A2C"]), axes(source, pair["A4C"])
        ed, es = (two[0], four[0]), (two[1], four[1])
        found.append(
            [
                biplane_ef(ed, es, convention="camus")[2],
                biplane_ef(ed, es)[2],
                *(ejection_fraction(area_length(a), area_length(b)) for a, b in (four, two)),
            ]
        )
        labels.append(float(source.answers(pair["A4C"], source.card.target("EF"))[0].value))
    names = (
        "biplane, common disc height (the labels' own rule)",
        "biplane, standard",
        "area-length, 4-chamber",
        "area-length, 2-chamber",
    )
    return list(views), np.array(labels), dict(zip(names, np.array(found).T, strict=True))


def report(source: Source) -> str:
    """Both tables."""
    patients, labels, rules = measured(source)
    sure = np.array([p not in SUSPECT for p in patients])
    lines = []
    for keep, words in (
        (np.ones(len(labels), bool), "all"),
        (sure, f"without {' and '.join(SUSPECT)}"),
    ):
        lines.append(f"{words}: {int(keep.sum())} patients")
        for name, values in rules.items():
            error = (values - labels)[keep]
            r = np.corrcoef(values[keep], labels[keep])[0, 1]
            lines.append(
                f"  {name:<52} MAE {np.abs(error).mean():5.2f}  bias {error.mean():+5.2f}  r {r:.3f}"
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description="EF from the masks of CAMUS")
    parser.add_argument("--root", type=Path)
    print(report(datasets.source("camus", parser.parse_args().root)), end="")


if __name__ == "__main__":
    main()
