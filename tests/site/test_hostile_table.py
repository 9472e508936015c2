"""A table of one's own full of hostile names, from the run to every page, file and line of a terminal."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest

from tests.commands import etab
from tests.datasets.own_tables import frame, sick, write_table
from tests.site.conftest import open_board
from tests.site.hostile import HOSTILE, is_harmless

pytestmark = pytest.mark.slow

NAMES = list(HOSTILE.values())
PATIENTS = 2 * len(NAMES)
CLASSES = (HOSTILE["script"], '=cmd|"/C calc"!A0')
FOLDER = "<img src=x onerror=window.pwned=1> '&=1+1 \u202egnp"
# Wards of patients: names of subgroups, one of them long.
WARDS = (HOSTILE["picture"], HOSTILE["formula"], HOSTILE["directions"] + HOSTILE["escape codes"])


class Walked(NamedTuple):
    site: Path
    texts: Mapping[str, str]


def toml(text: str) -> str:
    """A text in quotes, with what TOML does not take as it is escaped."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def row(patient: int, folder: Path) -> dict[str, Any]:
    """A recording with hostile names of file, patient, recording and ward."""
    # A cell with several lines is refused, as tests/datasets/test_own_slips.py shows.
    hostile = " ".join(NAMES[patient % len(NAMES)].splitlines())
    letters = re.sub(r"[/\x00;]", "", hostile)[:60]
    file = f"{letters}{patient}.png"
    brightness = 60 + 90 * sick(patient) + patient
    _, png = cv2.imencode(".png", frame(brightness, patient))
    (folder / file).write_bytes(png.tobytes())
    mask = np.zeros((32, 32), np.uint8)
    mask[8:24, 8 : 14 + patient % 8] = 1
    cv2.imwrite(str(folder / f"m{patient}.png"), mask)
    return {
        "file": file,
        "patient": f"{hostile}{patient}",
        "id": f"{hostile}{patient}",
        HOSTILE["picture"]: 80 - brightness / 4,
        "sick": CLASSES[sick(patient)],
        "mask": f"m{patient}.png",
        "sex": "MF"[patient % 2],
        "ward": WARDS[patient % len(WARDS)],
    }


def describe(folder: Path) -> Path:
    """A table with three labels whose names, titles, units and classes are hostile."""
    write_table(folder, [row(patient, folder) for patient in range(PATIENTS)])
    path = folder / "clinic.toml"
    notes = ", ".join(toml(name) for name in NAMES)
    path.write_text(
        f"""name = "clinic"
title = {toml(HOSTILE["script"] + HOSTILE["directions"] + HOSTILE["escape codes"])}
table = "clinic.csv"
notes = [{notes}]
subgroups = ["sex", "ward"]
[labels.{toml(HOSTILE["picture"])}]
kind = "value"
title = {toml(HOSTILE["long"])}
unit = {toml(HOSTILE["attribute"])}
[labels.sick]
kind = "classes"
title = {toml(HOSTILE["commands"] + HOSTILE["lines"])}
classes = [{toml(CLASSES[0])}, {toml(CLASSES[1])}]
[labels.{toml(HOSTILE["template"])}]
kind = "mask"
column = "mask"
title = {toml(HOSTILE["escape codes"])}
""",
        encoding="utf-8",
    )
    return path


def shown(*words: object) -> str:
    """What a command that succeeds shows in a terminal."""
    ended = etab(*words)
    text = ended.stdout + ended.stderr
    assert ended.returncode == 0, text
    return text


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Walked:
    folder = tmp_path_factory.mktemp("hostile")
    clinic = folder / FOLDER
    clinic.mkdir()
    data = describe(clinic)
    results = folder / f"results {FOLDER}"
    site = folder / f"site {FOLDER}"
    texts = {"check": shown("data", "check", data)}
    options = ("--backbones", "image_stats,pixel_pca", "--protocol", "cv2")
    texts["run"] = shown("run", "--data", data, *options, "--results", results)
    files = {"markdown": folder / "board.md", "csv": folder / "board.csv"}
    texts["board"] = shown(
        *("leaderboard", results, "--html", site, "--subgroups", data),
        *("--with-examples", "--root", clinic),
        *(part for name, path in files.items() for part in (f"--{name}", path)),
    )
    shown("leaderboard", results, "--html", folder / "page.html")
    texts["read-outs"] = shown("results", results, "--clinical", "--root", data)
    texts |= {name: path.read_text(encoding="utf-8") for name, path in files.items()}
    return Walked(site, texts)


@pytest.mark.parametrize("name", ["check", "run", "board", "read-outs", "markdown", "csv"])
def test_no_text_changes_what_is_around_it(walked: Walked, name: str) -> None:
    assert is_harmless(walked.texts[name].replace("\n", " "))


def test_no_line_of_a_terminal_is_endless(walked: Walked) -> None:
    tables = [line for line in walked.texts["run"].splitlines() if re.match(r"[abd]0-", line)]
    assert len(tables) == 6
    assert max(map(len, tables)) < 1000


def test_a_command_to_copy_names_the_folder_in_quotes(walked: Walked) -> None:
    (line,) = [line for line in walked.texts["run"].splitlines() if line.startswith("Rank them")]
    assert "leaderboard '" in line


def test_markdown_and_csv_hold_no_markup_and_no_formula(walked: Walked) -> None:
    for mark in ("<script", "<img", "<svg", "](javascript"):
        assert mark not in walked.texts["markdown"]
    cells = [cell for row in csv.reader(walked.texts["csv"].splitlines()) for cell in row]
    assert not [cell for cell in cells if re.match(r"\s*[=+@]|\s*-[^\d]", cell) and cell != "-"]


def test_subgroups_of_the_table_are_on_the_site(walked: Walked) -> None:
    kept = json.loads((walked.site / "data" / "subgroups.json").read_text(encoding="utf-8"))
    groups = {group[0] for cell in kept["cells"] for group in cell["groups"]}
    assert {"sex: male", "sex: female"} | {f"ward: {ward}" for ward in WARDS} == groups


@pytest.mark.parametrize("width", [420, 1400])
def test_every_page_is_harmless_in_a_browser(page: Any, walked: Walked, width: int) -> None:
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    page.set_viewport_size({"width": width, "height": 900})
    paths = sorted(walked.site.rglob("*.html"))
    assert len(paths) == 2 + 3 + 2  # board and comparison, tasks, backbones
    for path in (*paths, walked.site.parent / "page.html"):
        page.goto(path.as_uri())
        page.wait_for_load_state("load")
        for tab in page.locator("#picture-tabs button").all():
            tab.click()
            page.wait_for_timeout(150)
        page.wait_for_timeout(150)
        assert page.evaluate("window.pwned") is None, path
        assert page.locator("img[src=x], svg[onload], [onerror]").count() == 0, path
        if path in paths:
            assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        text = page.evaluate(
            "document.title + document.body.textContent + [...document.querySelectorAll('*')]"
            ".map(one => `${one.title} ${one.alt} ${one.ariaLabel}`).join(' ')"
        )
        assert is_harmless(re.sub(r"[\n\t]", " ", text)), path
    assert dialogs == []


def test_exports_of_the_site_are_harmless(page: Any, walked: Walked) -> None:
    open_board(page, walked.site)
    page.click("#export summary")
    for ending in ("csv", "json", "md", "tex"):
        with page.expect_download() as download:
            page.click(f"[data-export={ending}]")
        text = Path(download.value.path()).read_text(encoding="utf-8")
        assert is_harmless(text.replace("\n", " ")), ending
        if ending == "md":
            assert "<script" not in text
        if ending == "tex":
            assert "\\input{" not in text
