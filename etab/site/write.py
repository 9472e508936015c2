"""Writing the folder of pages."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence, Set
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from etab.errors import UnsupportedOptionError
from etab.files import read_json_file
from etab.leaderboard.board import Board
from etab.leaderboard.curves import CurvePoint
from etab.leaderboard.page import board_facts
from etab.leaderboard.summary import (
    Cards,
    arrow,
    encoder_words,
    number_words,
    rank_words,
)
from etab.site.adding import adding_commands
from etab.site.examples import Example
from etab.site.facts import backbone_facts, curve_facts, site_facts
from etab.site.names import page_names
from etab.site.noise import noise_facts
from etab.site.packing import as_json, as_script
from etab.site.predictions import has_predictions, prediction_facts
from etab.site.robustness import robustness_facts
from etab.site.sound_examples import SoundExample, sound_facts
from etab.site.subgroups import Subgroups, kept_subgroups, subgroup_facts
from etab.storage.atomic import slug, write_atomically
from etab.storage.text import counted, printable

MARKER = "site.json"
"""File that lists what a site wrote; a folder with other content is never written to."""

MADE_BY = "etab leaderboard --html"
"""The content of the marker of a site. A file of the same name by another program differs."""

Files = dict[str, str | bytes]
Examples = Mapping[str, Sequence[Example | SoundExample]]


def write_site(
    board: Board,
    cards: Cards,
    folder: Path,
    *,
    folders: Mapping[str, tuple[str, ...]] | None = None,
    examples: Examples | None = None,
    curves: Sequence[CurvePoint] = (),
    subgroups: Subgroups | None = None,
    group_notes: Sequence[str] = (),
) -> int:
    """Write a board as a folder of static pages.

    Args:
        board: The board, with its tables.
        cards: Cards by the name of the dataset, as ``etab.datasets.cards()`` gives them.
        folder: A new or empty folder, or one that holds an earlier site, which is replaced.
        folders: Names of the folders of results that hold a backbone, by its name, where several
            folders were merged.
        examples: Clips by backbone, as ``etab.site.examples.draw_examples`` gives them.
        curves: Points of label efficiency, from ``etab.leaderboard.curves.curve_points``.
        subgroups: Scores in subgroups of the patients, by backbone and task code.
        group_notes: What a reader must know about the data that define the subgroups.

    Returns:
        Number of bytes written.

    Raises:
        UnsupportedOptionError: If the folder holds something else.
    """
    former = _former_files(folder)
    files = site_files(board, cards, folders, examples, curves, subgroups, group_notes)
    # The marker comes first, so that a run that was interrupted can be repeated.
    _mark(folder, former | set(files))
    for name, content in files.items():
        write_atomically(folder / name, content)
    for name in sorted(former - set(files)):
        (folder / name).unlink(missing_ok=True)
    _mark(folder, set(files))
    return sum(len(c.encode() if isinstance(c, str) else c) for c in files.values())


def _mark(folder: Path, files: Set[str]) -> None:
    content = {"made_by": MADE_BY, "files": sorted(files)}
    write_atomically(folder / MARKER, json.dumps(content, indent=1) + "\n")


def _former_files(folder: Path) -> set[str]:
    """Files of an earlier site in the folder.

    Raises:
        UnsupportedOptionError: If the folder holds something that no site wrote.
    """
    if folder.is_file():
        raise UnsupportedOptionError(
            f"--html {folder} is a file. Name a folder for a site, or a file that ends in .html "
            "for one page."
        )
    if not folder.is_dir() or all(entry.suffix == ".part" for entry in folder.iterdir()):
        return set()
    try:
        marker = read_json_file(folder / MARKER)
    except (OSError, ValueError):
        marker = None
    if not isinstance(marker, dict) or marker.get("made_by") != MADE_BY:
        raise UnsupportedOptionError(
            f"--html {folder} holds files that are not of a site of etab. Name a new folder."
        )
    listed = marker.get("files")
    if not isinstance(listed, list):
        raise UnsupportedOptionError(
            f"{folder / MARKER} is damaged: it lists no files. Name a new folder for the site."
        )
    return {name for name in listed if _is_inside(folder, name)}


def _is_inside(folder: Path, name: object) -> bool:
    """Whether an entry of a marker names a file in the folder, also after following links."""
    if not isinstance(name, str) or "\0" in name:
        return False
    path = folder / name
    try:
        is_below = path.parent.resolve().is_relative_to(folder.resolve())
        return is_below and path.is_file() and not path.is_symlink()
    except (OSError, RuntimeError):  # no file can have such a name, or links lead in a circle
        return False


def site_files(
    board: Board,
    cards: Cards,
    folders: Mapping[str, tuple[str, ...]] | None = None,
    examples: Examples | None = None,
    curves: Sequence[CurvePoint] = (),
    subgroups: Subgroups | None = None,
    group_notes: Sequence[str] = (),
) -> Files:
    """Make every file of a site.

    Args:
        board: The board, with its tables.
        cards: Cards by the name of the dataset, as ``etab.datasets.cards()`` gives them.
        folders: Names of the merged folders that hold a backbone, by its name.
        examples: Clips by backbone.
        curves: Points of label efficiency.
        subgroups: Scores in subgroups of the patients, by backbone and task code.
        group_notes: What a reader must know about the data that define the subgroups.

    Returns:
        Text or bytes of each file, by its path in the folder.
    """
    names = page_names([*board.suite.tasks, *(row.backbone for row in board.rows)])
    plain = board_facts(board, cards)
    facts = site_facts(board, plain, names, cards)
    facts["digest"] = _results_digest(board)
    for row in facts["rows"]:
        row["folders"] = list((folders or {}).get(row["backbone"], ()))
    files: Files = _assets()
    files["data/noise.js"] = as_script("noise", noise_facts(board))
    for row, plain_row in zip(board.rows, plain["rows"], strict=True):
        file = names[row.backbone]
        details = backbone_facts(row, plain_row)
        of_backbone = (examples or {}).get(row.backbone, ())
        sounds = [example for example in of_backbone if isinstance(example, SoundExample)]
        details["sounds"] = [sound_facts(sound) for sound in sounds]
        files[f"data/backbone/{file}.js"] = as_script(f"backbone/{file}", details)
    files |= _prediction_files(board, facts)
    files |= _subgroup_files(board, facts, subgroups or {}, group_notes)
    facts["group_notes"] = [printable(note) for note in group_notes]
    facts["curve_tasks"] = list(dict.fromkeys(point.task for point in curves))
    if curves:
        files["data/curves.js"] = as_script("curves", curve_facts(curves))
    robustness = robustness_facts(board)
    facts["robustness"] = list(robustness)
    if robustness:
        files["data/robustness.js"] = as_script("robustness", robustness)
    files |= _example_files(facts, examples or {})
    files["data/board.js"] = as_script("board", facts)
    files["data/board.json"] = as_json(facts) + "\n"
    files |= _pages(board, facts)
    return files


def _example_files(facts: dict[str, Any], examples: Examples) -> Files:
    """The clips of each backbone; the facts of its row list them."""
    files: Files = {}
    pages = {task["code"]: task for task in facts["tasks"]}
    for row in facts["rows"]:
        row["examples"] = []
        row["sounds"] = []
        for example in examples.get(row["backbone"], ()):
            if isinstance(example, SoundExample):
                listed, of_sound = _sound_files(example, pages[example.task]["title"])
                files |= of_sound
                row["sounds"].append(listed)
                continue
            name = f"examples/{row['file']}/{pages[example.task]['file']}-{example.case}.webp"
            files[name] = example.clip
            row["examples"].append(
                {
                    "task": example.task,
                    "title": pages[example.task]["title"],
                    "case": example.case,
                    "recording": example.recording,
                    "dice": round(example.dice, 4),
                    "file": name,
                    "height": example.size[0],
                    "width": example.size[1],
                    "moves": example.moves,
                    "is_whole": example.is_whole,
                    "frames": list(example.frames),
                }
            )
    return files


def _sound_files(example: SoundExample, title: str) -> tuple[dict[str, Any], Files]:
    """The sound of a recording, which several backbones share."""
    name = f"examples/{slug(example.task)}/{slug(example.recording)}.wav"
    listed = {
        "task": example.task,
        "title": title,
        "case": example.case,
        "recording": example.recording,
        "score": round(example.score, 4),
        "sound": name,
        "predicted": example.predicted is not None,
    }
    return listed, {name: example.sound}


def _prediction_files(board: Board, facts: dict[str, Any]) -> Files:
    """A file of predictions for each task that has some; the facts of the task state it."""
    files: Files = {}
    is_small = has_predictions(board)
    for task in facts["tasks"]:
        predictions = prediction_facts(board, task["code"]) if is_small else None
        task["predictions"] = predictions is not None
        if predictions is not None:
            key = f"predictions/{task['file']}"
            files[f"data/{key}.js"] = as_script(key, predictions)
    return files


def _subgroup_files(
    board: Board, facts: dict[str, Any], subgroups: Subgroups, notes: Sequence[str]
) -> Files:
    """A file of subgroups for each task that has some, and one to make a later site with."""
    files: Files = {}
    for task in facts["tasks"]:
        of_task = subgroup_facts(board, task["code"], subgroups)
        task["subgroups"] = of_task is not None
        if of_task is not None:
            key = f"subgroups/{task['file']}"
            files[f"data/{key}.js"] = as_script(key, of_task)
    if files:
        files["data/subgroups.json"] = kept_subgroups(board, subgroups, notes)
    return files


def _assets() -> Files:
    """Scripts, styles and licences, as the package holds them."""
    files: Files = {}
    for entry in sorted((resources.files("etab.site") / "assets").iterdir(), key=lambda e: e.name):
        files[f"assets/{entry.name}"] = entry.read_bytes()
    return files


def _pages(board: Board, facts: Mapping[str, Any]) -> Files:
    environment = Environment(
        loader=PackageLoader("etab.site"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        finalize=_shown,
    )
    environment.filters["printable"] = printable
    environment.filters["code"] = _with_code
    environment.filters["number"] = number_words
    environment.filters["counted"] = counted
    environment.filters["arrow"] = arrow
    environment.filters["digits"] = _three_digits
    shared = {"board": facts, "root": ""}
    index = environment.get_template("index.html")
    files: Files = {
        "index.html": index.render(
            **shared,
            page="index",
            answers=facts["answers"],
            chips=_chips(board),
            static=_static_rows(board),
            citation=_citation(board, facts),
            commands=adding_commands(board),
        ),
        "compare.html": environment.get_template("compare.html").render(**shared, page="compare"),
    }
    inner = {"board": facts, "root": "../"}
    for task in facts["tasks"]:
        rows, missing = _rows_of_task(task, facts["rows"])
        page = environment.get_template("task.html").render(
            **inner,
            page="task",
            task=task,
            rows=rows,
            missing=missing,
            elsewhere=[row for row in facts["published"] if task["code"] in row["values"]],
        )
        files[f"task/{task['file']}.html"] = page
    template = environment.get_template("backbone.html")
    for row in facts["rows"]:
        page = template.render(
            **inner,
            page="backbone",
            row=row,
            of_pictures=notices_of(row["examples"], facts["tasks"]),
            of_sounds=notices_of(row["sounds"], facts["tasks"]),
        )
        files[f"backbone/{row['file']}.html"] = page
    return files


def notices_of(
    examples: Sequence[Mapping[str, Any]], tasks: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, str]]:
    """List the datasets that examples are of, each once.

    Args:
        examples: Facts of clips or sounds, with the code of their ``task``.
        tasks: Facts of the tasks, with the notices of their ``data``.

    Returns:
        Title, licence and citation of each dataset.
    """
    codes = {example["task"] for example in examples}
    notices: list[Mapping[str, str]] = []
    for task in tasks:
        if task["code"] in codes:
            notices += [notice for notice in task["data"] if notice not in notices]
    return notices


def _rows_of_task(
    task: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """Rows with a result of a task, the best value first, and rows without one."""
    code = task["code"]
    known = [row for row in rows if code in row["cells"]]
    known.sort(key=lambda row: -task["better"] * row["cells"][code][0])
    return known, [row for row in rows if code not in row["cells"]]


def _shown(value: Any) -> Any:
    """A value of a template, where text has no character that changes the text around it."""
    is_plain = isinstance(value, str) and not isinstance(value, Markup)
    return printable(value) if is_plain else value


def _three_digits(value: float) -> str:
    """A size with three digits and no power of ten, such as 5,750 or 0.00113."""
    return f"{float(f'{value:.3g}'):,.10g}"


def _with_code(text: str) -> Markup:
    """Printable text in which commands stand between backticks, as HTML."""
    plain = printable(text)
    parts = plain.split("`")
    if len(parts) % 2 == 0:  # a backtick without its mate is a character like any other
        return escape(plain)
    marked = [
        Markup("<code>{}</code>").format(part) if k % 2 else escape(part)
        for k, part in enumerate(parts)
    ]
    return Markup("").join(marked)


def _chips(board: Board) -> list[tuple[str, str]]:
    """The facts at the head of the page."""
    return [
        ("protocol", board.protocol),
        ("backbones", str(len(board.rows))),
        ("tasks", str(len(board.suite.tasks))),
        ("suite", f"{board.suite.name}, version {board.suite.version}"),
    ]


def _static_rows(board: Board) -> list[tuple[str, ...]]:
    """The table for a browser without scripts."""
    rows: list[tuple[str, ...]] = []
    for row in board.rows:
        score = f"{row.etab:.3f}" if row.ranked else "-"
        probes = f"[{row.low:.3f}, {row.high:.3f}]" if row.ranked else "-"
        name = printable(row.backbone)
        rows.append((rank_words(row), name, row.kind, score, probes, encoder_words(row)))
    return rows


def _citation(board: Board, facts: Mapping[str, Any]) -> str:
    """The citation of a board: its versions, data and results."""
    versions = ", ".join(facts["origins"].get("etab", [])) or "not stated"
    digests = ", ".join(facts["origins"].get("data digest", []))
    return (
        f"{board.title}. etab {versions}, suite {board.suite.name} version {board.suite.version}, "
        f"protocol {board.protocol}, seed {board.seed}, {counted(len(board.rows), 'backbone')}. "
        f"Data: {digests}. Results: {facts['digest']}."
    )


def _results_digest(board: Board) -> str:
    """The first digits of a digest of all predictions of the board: another board has another one."""
    cells = [
        (row.backbone, code, cell.predictions_sha256)
        for row in board.rows
        for code, cell in row.cells.items()
    ]
    return hashlib.sha256(json.dumps(sorted(cells)).encode()).hexdigest()[:12]
