"""Made entries of both challenges, for the tests."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from typer.testing import CliRunner

from etab.challenges.limits import Limits
from etab.cli.main import app
from etab.results import Predictions, Result
from etab.types import Kind

ROOT = Path(__file__).resolve().parents[2]

QUICK = Limits(20, 512, 64)


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


def asked(*words: object) -> Any:
    return CliRunner().invoke(app, ["challenge", *map(str, words)])
