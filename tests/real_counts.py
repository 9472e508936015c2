"""Published counts of whole data sets, for ``pytest --real NAME=DIR``: name, what to compute, and what must come out.

Sources: the tables of the releases as counted by their users (EchoNet-Dynamic, EchoNet-LVH, TMED-2), the pages of the
data sets, and for CAMUS and CirCor the data themselves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from etab.datasets.base import SoundSource, Source
from etab.types import Record

Rows = Sequence[Record]
Wanted = Mapping[str, Any]


def values(source: Source, target: str, part: str | None = None) -> np.ndarray:
    asked = source.card.target(target)
    rows = [r for r in source.records() if part in (None, r.split)]
    return np.array([a.value for r in rows for a in source.answers(r, asked)])


def answered(source: Source, target: str) -> int:
    asked = source.card.target(target)
    return sum(bool(source.annotated(record, asked)) for record in source.records())


def of_echonet(source: Source) -> Wanted:
    ef, test = values(source, "EF"), values(source, "EF", "test")
    frames = np.array([source.n_frames(record) for record in source.records()])
    traced = [source.annotated(record, source.card.target("LV_seg")) for record in source.records()]
    return {
        "recordings": len(ef),
        "traced": sum(len(at) == 2 for at in traced),
        "untraced": sum(not at for at in traced),
        "EF mean": round(float(ef.mean()), 2),
        "EF sd": round(float(ef.std(ddof=1)), 2),
        "EF range": (round(float(ef.min()), 1), round(float(ef.max()), 1)),
        "test EF < 50 %": round(100 * float((test < 50).mean()), 1),
        "at 50 frames/s %": round(100 * float(np.mean([r.fps == 50 for r in source.records()])), 1),
        "frames": (int(frames.min()), int(frames.max()), int(np.median(frames))),
        "above 250 frames": int((frames > 250).sum()),
    }


def of_camus(source: Source) -> Wanted:
    first = {record.patient: record for record in source.records()}.values()
    ef = np.array([source.answers(record, source.card.target("EF"))[0].value for record in first])
    return {
        "patients": len(ef),
        "parts": dict(Counter(r.split for r in first)),
        "EF mean": round(float(ef.mean()), 1),
        "EF sd": round(float(ef.std()), 1),
        "EF range": (ef.min(), ef.max()),
        "sex": dict(Counter(r.meta["sex"] for r in first)),
        "EF < 50 %": round(100 * float((ef < 50).mean())),
        "masks": len(source.records()) and answered(source, "LV_seg"),
    }


def of_tmed(source: Source) -> Wanted:
    return dict(source.tally()) | {"images": dict(Counter(r.split for r in source.records()))}


def of_lvh(source: Source) -> Wanted:
    means = {
        name: round(float(values(source, name).mean()), 2) for name in ("LVIDd", "IVSd", "LVPWd")
    }
    return {"videos": len(source.records())} | means


def of_pediatric(source: Source) -> Wanted:
    return {
        "views": dict(Counter(r.view for r in source.records())),
        "parts": sorted({r.split for r in source.records()}),
    }


def of_unity(source: Source) -> Wanted:
    return {
        "views": sorted({record.view for record in source.records()}),
        "points": answered(source, "keypoints") > 0,
    }


def of_circor(source: Source) -> Wanted:
    rows = source.records()
    ids = {r.meta["id"]: r for r in rows}.values()
    seconds = seconds_of(source)
    return {
        "recordings": len(rows),
        "ids": len(ids),
        "people": len({r.patient for r in rows}),
        "places": dict(Counter(r.view for r in rows)),
        "murmur": dict(Counter(r.meta["murmur"] for r in ids)),
        "outcome": dict(Counter(r.meta["outcome"] for r in ids)),
        "campaigns": dict(Counter(r.meta["campaign"] for r in ids)),
        "hours": round(seconds.sum() / 3600, 2),
        "seconds": (round(seconds.min(), 2), round(seconds.max(), 2)),
    }


def of_cinc2016(source: Source) -> Wanted:
    rows = source.records()
    return {
        "databases": dict(Counter(r.meta["database"] for r in rows)),
        "abnormal": sum(r.meta["abnormal"] for r in rows),
        "validation": sum(r.meta["validation"] for r in rows),
        "people": len({r.patient for r in rows if r.meta["database"] == "b"}),
    }


def seconds_of(source: Source) -> np.ndarray:
    assert isinstance(source, SoundSource)
    return np.array(
        [source.n_samples(record) / float(record.fps or 1) for record in source.records()]
    )


COUNTS: Mapping[str, tuple[Callable[[Source], Wanted], Wanted]] = {
    "echonet": (
        of_echonet,
        {
            "recordings": 10_030,
            "traced": 10_024,
            "untraced": 6,
            "EF mean": 55.75,
            "EF sd": 12.37,
            "EF range": (6.9, 97.0),
            "test EF < 50 %": 22.3,
            "at 50 frames/s %": 79.4,
            "frames": (28, 1002, 171),
            "above 250 frames": 585,
        },
    ),
    "camus": (
        of_camus,
        {
            "patients": 500,
            "parts": {"train": 400, "val": 50, "test": 50},
            "EF mean": 44.2,
            "EF sd": 12.0,
            "EF range": (4.0, 81.0),
            "sex": {"M": 330, "F": 170},
            "EF < 50 %": 66,
            "masks": 1000,
        },
    ),
    "tmed": (
        of_tmed,
        {
            "studies": 598,
            "PLAX": 4808,
            "PSAX": 1725,
            "A2C": 1670,
            "A4C": 2206,
            "other": 6861,
            "studies with no AS": 126,
            "studies with early AS": 171,
            "studies with significant AS": 301,
            "unlisted files in view_and_diagnosis_labeled_set/labeled": 1,
            "images": {"train": 10_066, "val": 3602, "test": 3602},
        },
    ),
    "lvh": (of_lvh, {"videos": 12_000, "LVIDd": 4.70, "IVSd": 1.03, "LVPWd": 1.01}),
    "pediatric": (
        of_pediatric,
        {"views": {"A4C": 3176, "PSAX": 4424}, "parts": ["test", "train", "val"]},
    ),
    "unity": (of_unity, {"views": ["A2C", "A3C", "A4C", "PLAX"], "points": True}),
    "circor": (
        of_circor,
        {
            "recordings": 3163,
            "ids": 942,
            "people": 872,
            "places": {"AV": 800, "PV": 766, "TV": 732, "MV": 861, "Phc": 4},
            "murmur": {"Absent": 695, "Present": 179, "Unknown": 68},
            "outcome": {"Normal": 486, "Abnormal": 456},
            "campaigns": {"CC2015": 557, "CC2014": 385},
            "hours": 20.09,
            "seconds": (5.15, 64.51),
        },
    ),
    "cinc2016": (
        of_cinc2016,
        {
            "databases": {"a": 409, "b": 490, "c": 31, "d": 55, "e": 2054, "f": 114},
            "abnormal": 665,
            "validation": 301,
            "people": 106,
        },
    ),
}


def wanted_of(name: str, source: Source) -> Wanted:
    """What is published of this release. Of CinC 2016 without its appendix nobody can say who is recorded or withdrawn."""
    wanted = dict(COUNTS[name][1])
    if name == "cinc2016" and any("withdrew are among" in said for said in source.notes()):
        wanted |= {
            "databases": {"a": 409, "b": 490, "c": 31, "d": 55, "e": 2141, "f": 114},
            "people": 490,
        }
    return wanted
