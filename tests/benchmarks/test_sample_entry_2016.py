"""The sample entry of CinC 2016 made again: its splits, its table, and what the page says of it."""

from __future__ import annotations

import numpy as np

from benchmarks import sample_entry_2016 as entry
from benchmarks.pages import sounds


def made() -> entry.Recordings:
    """Three databases whose first feature shows the disease."""
    rng = np.random.default_rng(0)
    abnormal = np.tile([0, 1], 60)
    features = rng.normal(size=(120, 20))
    features[:, 0] += 3 * abnormal
    names = np.arange(120).astype(str)
    return entry.Recordings(
        names=names,
        people=names,
        databases=np.repeat(["a", "b", "c"], 40),
        abnormal=abnormal,
        clean=np.where(np.arange(120) % 7, 1.0, -1.0),
        features={"homomorphic": features, "wavelet": features},
    )


def test_one_database_is_fitted_on_and_the_others_are_tested() -> None:
    recordings = made()
    (split,) = entry.fitted_on_one(recordings)
    assert set(recordings.databases[split.train]) == {"a"}
    assert set(recordings.databases[split.test]) == {"b", "c"}
    scores = entry.scores_of(recordings, "wavelet", "logistic_balanced", [split])
    assert np.isnan(scores[split.train]).all()
    lines = entry.table("title", recordings, scores)
    assert [line.split("|")[1].strip() for line in lines[3:]] == ["b", "c", "mean", "all together"]
    assert float(lines[-1].split("|")[5]) > 0.85


def test_the_page_has_the_figures_of_the_output_file() -> None:
    text = entry.Path(entry.__file__).with_suffix(".txt").read_text()
    (section,) = [s for s in sounds.SECTIONS if (s.task, s.protocol) == ("f0-PH-N", "lodo")]
    (row,) = [row for row in section.published if "made again" in row.who]
    start = text.index(
        "## Fitted on database a: logistic_balanced, heart rate from the homomorphic"
    )
    part = text[start:].split("\n## ")[0]
    cells = [cell.strip() for cell in part.strip().splitlines()[-1].split("|")]
    for name, cell in (("se", 3), ("sp", 4), ("macc_2016", 6)):
        if name in row.values:
            assert f"{row.values[name]:.3f}" == cells[cell]
    assert f"| mean | 5 databases | | | {row.values['macro_macc']:.3f} |" in part
    assert row.values["macc_2016"] == 0.647
