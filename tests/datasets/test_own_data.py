"""Recordings of one's own, described by a table: read, checked, run and ranked like any dataset."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from scipy.io import wavfile
from typer.testing import CliRunner
from typer.testing import Result as Ran

from etab import phantom
from etab.cli.main import app
from etab.datasets.base import SOURCES
from etab.datasets.own.check import check_own
from etab.datasets.own.description import read_description
from etab.datasets.own.files import read_frames, read_sound
from etab.datasets.own.registered import own_source
from etab.datasets.own.table import read_own_table
from etab.errors import (
    CorruptFileError,
    EtabError,
    LayoutError,
    ResultError,
    SplitError,
    UnsupportedOptionError,
)
from etab.results import Result
from etab.runs.execute import execute
from etab.runs.run import Settings, plan
from etab.tasks.menu import TASKS
from etab.tasks.own import use_own_data
from tests.datasets.own_tables import (
    CAMUS_TASKS,
    CIRCOR_TASKS,
    CLIP_SUFFIXES,
    PATIENTS,
    camus_as_table,
    circor_as_table,
    clips,
    clips_of_formats,
    describe,
    film,
    frame,
    pictures,
    sounds,
    write_clip,
    write_table,
)
from tests.trees import dicom as ultrasound

VALUE = '[labels.EF]\nkind = "value"\nunit = "%"\nrange = [0, 100]\n'
SICK = '[labels.sick]\nkind = "classes"\nclasses = ["no", "yes"]\n'


pytestmark = pytest.mark.usefixtures("forget_own_data")


def call(*words: object) -> Ran:
    return CliRunner().invoke(app, [str(word) for word in words])


def run(path: Path, results: Path, backbone: str = "image_stats") -> dict[str, Result]:
    """Results of one backbone on every task of a description, by label."""
    description = use_own_data(path)
    runs = plan(description.name, [backbone], protocols=("cv",))
    cells = execute(runs, Settings(root=description.folder, results=results, data=path))
    return {TASKS[cell.task].target: cell for cell in cells}


def test_pictures_with_a_value_and_classes(tmp_path: Path) -> None:
    write_table(tmp_path, pictures(tmp_path, ".png", ".jpg", ".tif", ".bmp"))
    path = describe(tmp_path, VALUE + SICK)
    assert check_own(read_description(path)).ok
    cells = run(path, tmp_path / "r")
    assert cells["sick"].value == 1.0
    assert cells["EF"].value > 0.8
    assert cells["EF"].dataset == "clinic"
    assert cells["EF"].n_patients == PATIENTS


@pytest.mark.slow
def test_clips_with_masks_frames_and_phases(tmp_path: Path) -> None:
    rows = clips(tmp_path)
    write_table(tmp_path, rows)
    labels = """
[columns]
ed = "ed"
es = "es"
[labels.LV]
kind = "mask"
column = "mask"
frames = "mask_frames"
[labels.sick]
kind = "classes"
classes = ["0", "1"]
input = "clip"
clip = [8, 2]
per = "recording"
"""
    path = describe(tmp_path, labels)
    assert check_own(read_description(path)).ok
    cells = run(path, tmp_path / "r")
    assert cells["LV"].metrics["dice"] > 0.8
    assert cells["LV"].n_test == 2 * PATIENTS
    assert cells["sick"].value == 1.0


def test_clips_of_four_formats_are_one_table(tmp_path: Path) -> None:
    write_table(tmp_path, clips_of_formats(tmp_path))
    label = '[labels.sick]\nkind = "classes"\nclasses = ["0", "1"]\n'
    path = describe(tmp_path, label + 'input = "clip"\nclip = [4, 2]\nper = "recording"\n')
    report = check_own(read_description(path))
    assert report.ok, report.render()
    use_own_data(path)
    source = SOURCES["clinic"](tmp_path)
    for patient, record in enumerate(source.records()):
        expected = film(patient)
        assert record.fps == 25
        assert source.n_frames(record) == len(expected)
        frames = source.frames(record, [2, 7]).astype(float)
        inside = ultrasound.inside()
        errors = np.abs(frames - expected[[2, 7]])[:, inside]
        suffix = record.files["file0"].partition(".")[2]
        assert np.median(errors) <= (6 if suffix == "mp4" else 0), suffix
    assert source.spacing(source.records()[2]) == (0.5, 0.4)  # mhd: rows, columns
    assert source.spacing(source.records()[4]) == pytest.approx((0.5, 0.4))  # nii.gz


def test_a_picture_that_is_several_or_too_deep_is_named(tmp_path: Path) -> None:
    from PIL import Image

    page = Image.fromarray(np.arange(1024, dtype=np.uint32).reshape(32, 32).astype(np.uint8))
    page.save(tmp_path / "two.tif", save_all=True, append_images=[page])
    page.save(tmp_path / "one.tif")
    deep = Image.fromarray(np.arange(1024, dtype=np.uint16).reshape(32, 32))
    deep.save(tmp_path / "deep.png")
    assert read_frames(tmp_path / "one.tif").shape == (1, 32, 32)
    with pytest.raises(CorruptFileError, match=r"two.tif holds 2 pictures.*file of its own"):
        read_frames(tmp_path / "two.tif")
    with pytest.raises(CorruptFileError, match=r"deep.png has 16 bits a channel; wanted 8. Scale"):
        read_frames(tmp_path / "deep.png")


@pytest.mark.parametrize("suffix", CLIP_SUFFIXES)
def test_a_clip_that_was_cut_is_named(suffix: str, tmp_path: Path) -> None:
    name = f"clip{suffix}"
    write_clip(tmp_path / name, film(1))
    # the header of MetaImage is a file of its own beside the pixels
    pixels = tmp_path / ("clip.raw" if suffix == ".mhd" else name)
    pixels.write_bytes(pixels.read_bytes()[: pixels.stat().st_size // 3])
    write_table(tmp_path, [{"file": name, "patient": "p1", "EF": 50}])
    report = check_own(read_description(describe(tmp_path, VALUE)))
    assert [problem.reason for problem in report.problems] == ["a file that cannot be read"]
    assert name in report.problems[0].text or "clip.raw" in report.problems[0].text


def test_sounds_with_states_and_classes(tmp_path: Path) -> None:
    write_table(tmp_path, sounds(tmp_path))
    labels = """
[labels.states]
kind = "states"
head = "hsmm"
[labels.murmur]
kind = "classes"
classes = ["Absent", "Present"]
[labels.age]
kind = "value"
unit = "years"
"""
    path = describe(tmp_path, labels, sound=True)
    report = check_own(read_description(path))
    assert report.ok, report.render()
    use_own_data(path)
    source = SOURCES["clinic"](tmp_path)
    record = source.records()[0]
    (answer,) = source.answers(record, source.card.target("states"))
    assert set(np.unique(answer.value)) == {0, 1, 2, 3}
    assert record.fps == 2000
    description = use_own_data(path)
    runs = plan("f0-AL-Z", ["mel_stats"], protocols=("cv",))
    assert [one.task for one in runs] == ["f0-AL-Z"]
    (cell,) = execute(runs, Settings(root=description.folder, results=tmp_path / "r", data=path))
    assert cell.value == 1.0


def problems(folder: Path, rows: list[dict[str, Any]], labels: str = VALUE + SICK) -> list[str]:
    write_table(folder, rows)
    table = read_own_table(read_description(describe(folder, labels)))
    return [problem.reason for problem in table.problems]


@pytest.mark.parametrize(
    ("change", "reason", "lines"),
    [
        ({"file": "absent.png"}, "a missing file", 1),
        ({"file": ""}, "no file", 1),
        ({"file": "../p000.png"}, "a file outside the folder", 1),
        ({"file": "clinic.csv"}, "a file of another kind", 1),
        ({"file": "p000.png"}, "a recording listed twice with other cells", 2),
        (
            {"file": "p000.png", "patient": "p000", "EF": "", "sick": ""},
            "a recording listed twice",
            1,
        ),
        ({"patient": ""}, "no patient", 1),
        ({"patient": "p001", "split": "test"}, "a patient in two parts of the split", 2),
        ({"EF": "120"}, "EF out of range", 1),
        ({"EF": "high"}, "EF is not a number", 1),
        ({"sick": "maybe"}, "an unknown class of sick", 1),
        ({"view": "upside down"}, "an unknown view", 1),
        ({"split": "holdout"}, "an unknown part of the split", 1),
        ({"fps": "-3"}, "fps is not a number above 0", 1),
        ({"spacing": "0.3x0.2x0.1"}, "spacing is not in mm", 1),
        ({"ed": "3", "es": "3"}, "ED and ES are not frames", 1),
        ({"ed": "zero", "es": ""}, "ED and ES are not frames", 1),
        ({"ed": "", "es": "2"}, "ED and ES are not frames", 1),
        ({"file": "p001.png;p005.png"}, "a recording listed twice with other cells", 2),
        ({"file": "p005.png;p001.png"}, "a recording listed twice with other cells", 2),
    ],
)
def test_a_row_that_does_not_fit_is_explained(
    change: dict[str, str], reason: str, lines: int, tmp_path: Path
) -> None:
    rows = pictures(tmp_path)
    for row in rows:
        row["split"] = "train"
    rows[5].update(change)
    assert problems(tmp_path, rows) == [reason] * lines
    path = tmp_path / "clinic.toml"
    with pytest.raises(LayoutError, match=r"rows? do(es)? not fit(.|\n)*--skip-bad"):
        run(path, tmp_path / "r")
    report = check_own(read_description(path))
    assert len(report.problems) == lines
    assert f"line {report.problems[-1].line}: {reason}" in report.render()


def test_skip_bad_goes_on_and_says_what_is_left_out(tmp_path: Path) -> None:
    rows = pictures(tmp_path)
    rows[3]["EF"] = "300"
    rows[4]["file"] = "absent.png"
    (tmp_path / "p007.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    write_table(tmp_path, rows)
    path = describe(tmp_path, VALUE)
    description = use_own_data(path)
    runs = plan("clinic", ["image_stats"], protocols=("cv",))
    settings = Settings(root=description.folder, results=tmp_path / "r", skip_bad=True, data=path)
    (cell,) = execute(runs, settings)
    assert cell.n_patients == PATIENTS - 3
    reasons = " ".join(reason for _, reason in cell.bad["recordings"])
    for word in ("EF is 300", "absent.png is missing", "p007.png"):
        assert word in reasons
    report = check_own(description)
    assert [problem.line for problem in report.problems] == [5, 6, 9]


def test_skip_bad_leaves_copies_of_another_patient_out(tmp_path: Path) -> None:
    write_table(tmp_path, pictures(tmp_path))
    shutil.copy(tmp_path / "p002.png", tmp_path / "p008.png")
    path = describe(tmp_path, VALUE)
    with pytest.raises(SplitError, match=r"equal recordings of two patients(.|\n)*--skip-bad"):
        run(path, tmp_path / "r")
    description = use_own_data(path)
    runs = plan("clinic", ["image_stats"], protocols=("cv",))
    settings = Settings(root=description.folder, results=tmp_path / "r", skip_bad=True, data=path)
    (cell,) = execute(runs, settings)
    assert cell.n_patients == PATIENTS - 2
    assert [name for name, _ in cell.bad["recordings"]] == ["p002", "p008"]
    assert cell.bad["recordings"][0][1] == "p002 of patient p002 equals p008 of patient p008."


def test_a_label_without_values_names_the_command_that_explains_it(tmp_path: Path) -> None:
    rows = pictures(tmp_path)
    for row in rows:
        row["EF"] = ""
    write_table(tmp_path, rows)
    path = describe(tmp_path, VALUE)
    with pytest.raises(LayoutError, match=f"Run `etab data check {path}`"):
        run(path, tmp_path / "r")


@pytest.mark.parametrize("changed", ["table", "description", "file"])
def test_results_of_data_that_changed_are_refused_in_words(changed: str, tmp_path: Path) -> None:
    rows = pictures(tmp_path, patients=12)
    write_table(tmp_path, rows)
    path = describe(tmp_path, VALUE)
    run(path, tmp_path / "r")
    if changed == "table":
        rows[0]["EF"] = 55.5
        write_table(tmp_path, rows)
    elif changed == "description":
        path = describe(tmp_path, VALUE.replace("[0, 100]", "[0, 99]"))
    else:
        cv2.imwrite(str(tmp_path / "p001.png"), frame(20, 99))
    words = r"made with different data \(the table, its description or its files changed\)\."
    with pytest.raises(ResultError, match=words):
        run(path, tmp_path / "r")


def test_many_rows_with_some_faults_give_one_report(tmp_path: Path) -> None:
    rows = []
    for number in range(10_000):
        name = f"{number}.png"
        (tmp_path / name).touch()
        rows.append({"file": name, "patient": number // 4, "EF": 50 + number % 10})
    for number in range(0, 10_000, 100):
        rows[number]["EF"] = "-1"
    write_table(tmp_path, rows)
    table = read_own_table(read_description(describe(tmp_path, VALUE)))
    assert len(table.problems) == 100
    assert len(table.rows) == 9_900
    report = table.report(tmp_path / "clinic.csv")
    assert "100 of 10,000 rows do not fit" in report
    assert "100 x EF out of range" in report
    assert len(report.splitlines()) < 30


def test_rare_classes_and_mixed_views_are_told(tmp_path: Path) -> None:
    rows = pictures(tmp_path)
    for row in rows:
        row["sick"] = "no"
        row["view"] = "A4C"
    rows[0].update(sick="yes", view="A2C")
    write_table(tmp_path, rows)
    remarks = " ".join(check_own(read_description(describe(tmp_path, VALUE + SICK))).remarks)
    assert "the class 'yes' has 1 patient;" in remarks
    assert f"recordings of several views are one task (A4C {PATIENTS - 1}, A2C 1)" in remarks


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("x = ", "is not TOML"),
        ('name = "a"\ntable = "t.csv"\nlabels = ["EF"]', "labels is .'EF'.; wanted a section"),
        ('name = "a"\ntable = "t.csv"\n[labels.""]\nkind = "value"', "a label has no name"),
        ('name = "a"\ntable = "t.csv"\n[labels.EF]\nunit = "%"', "kind is missing; possible:"),
        ('name = "A"\ntable = "t.csv"\n[labels.EF]\nkind = "value"', "small letters"),
        ('name = "a"\n[labels.EF]\nkind = "value"', "table is missing"),
        ('name = "a"\ntable = "t.csv"', "has no label"),
        ('name = "a"\ntable = "t.csv"\n[labels.EF]\nkind = "number"', "possible: value, classes"),
        ('name = "a"\ntable = "t.csv"\nunit = ["x"]', "possible: patient, recording, examination"),
        ('name = "a"\ntable = "t.csv"\n[labels.EF]\nkind = "classes"', "two classes or more"),
        ('name = "a"\ntable = "t.csv"\n[labels.EF]\nkind = "value"\nunits = "%"', "'unit'"),
        ('name = "a"\ntabel = "t.csv"', "Did you mean 'table'"),
        ('name = "a"\ntable = "t.csv"\n[labels.EF]\nkind = "value"\nviews = ["up"]', "No view"),
        ('name = "a"\ntable = "t.csv"\n[labels.EF]\nkind = "value"\nrange = [1]', "two different"),
        (
            'name = "a"\ntable = "t.csv"\n[labels.EF]\nkind = "value"\nrange = [0, nan]',
            "two different numbers",
        ),
        (
            'name = "a"\ntable = "t.csv"\n[labels.EF]\nkind = "value"\nrange = [false, true]',
            "two different numbers",
        ),
        (
            'name = "a"\ntable = "t.csv"\n[labels.EF]\nkind = "value"\nanchors = [0, inf]',
            "two finite numbers",
        ),
        (
            'name = "a"\ntable = "t.csv"\n[labels.EF]\nkind = "value"\nclip = [true, true]',
            "wanted .frames, step.",
        ),
        (
            'name = "a"\ntable = "t.csv"\n[labels.x]\nkind = "classes"\nclasses = ["", "b"]',
            "has no name",
        ),
        ('name = "a"\ntable = "t.csv"\nfolder = 5\n[labels.EF]\nkind = "value"', "path in quotes"),
        (
            'name = "a"\ntable = "t.csv"\n[labels."LV/endo"]\nkind = "mask"',
            "must not contain a slash",
        ),
        (
            'name = "a"\ntable = "t.csv"\n[labels.x]\nkind = "value"\npixel = 2',
            "pixel is for kind = .mask",
        ),
        (
            'name = "a"\ntable = "t.csv"\n[labels.x]\nkind = "classes"\nclasses = ["a", "b"]\n'
            "range = [0, 1]",
            "range is for kind = .value",
        ),
        (
            'name = "a"\ntable = "t.csv"\n[labels.x]\nkind = "value"\naggregate = "mean"',
            "add per = ",
        ),
    ],
)
def test_a_wrong_description_names_the_key(text: str, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "clinic.toml"
    path.write_text(text)
    with pytest.raises(EtabError, match=problem):
        read_description(path)


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_a_description_in_another_encoding_is_told(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "clinic.toml"
    path.write_text('name = "a"\nnotes = ["Süd"]', encoding=encoding)
    with pytest.raises(LayoutError, match=r"is not in UTF-8\. Save it again as UTF-8\."):
        read_description(path)


@pytest.mark.parametrize("metric", ["weighted_accuracy", "dice", "mae"])
def test_a_metric_that_does_not_fit_is_refused(metric: str, tmp_path: Path) -> None:
    write_table(tmp_path, pictures(tmp_path, patients=2))
    path = describe(tmp_path, f'{SICK}metric = "{metric}"\n')
    with pytest.raises(LayoutError, match=f"the metric {metric} "):
        use_own_data(path)


_SICK = '[labels.sick]\nkind = "classes"\nclasses = ["no", "yes"]\n'


def test_constant_values_and_fractions_of_percentages_are_told(tmp_path: Path) -> None:
    rows = [{**row, "EF": 50, "GLS": 0.1 + i / 100} for i, row in enumerate(pictures(tmp_path))]
    write_table(tmp_path, rows)
    labels = '[labels.EF]\nkind = "value"\n[labels.GLS]\nkind = "value"\nunit = "%"\n'
    remarks = " ".join(check_own(read_description(describe(tmp_path, labels))).remarks)
    assert "EF: every row has the value 50" in remarks
    assert "GLS: the unit is %, and every value is between 0.1 and 0.49; multiply them" in remarks


def test_masks_without_their_structure_are_told(tmp_path: Path) -> None:
    rows = pictures(tmp_path, patients=3)
    for i, row in enumerate(rows):
        row["LV"] = f"m{i}.png"
        cv2.imwrite(str(tmp_path / row["LV"]), np.full((32, 32), min(i, 1), np.uint8))
    write_table(tmp_path, rows)
    for pixel, count in (("", "1 of 3 masks have no pixel above 0"), ("pixel = 7", "3 of 3 masks")):
        labels = f'[labels.LV]\nkind = "mask"\n{pixel}\n'
        remarks = check_own(read_description(describe(tmp_path, labels))).remarks
        assert any(count in remark for remark in remarks)


def test_states_of_a_longer_recording_are_refused(tmp_path: Path) -> None:
    for name, end in (("a", 5.5), ("b", 60)):
        samples = np.random.default_rng(ord(name)).normal(0, 2000, 10000).astype(np.int16)
        wavfile.write(tmp_path / f"{name}.wav", 2000, samples)
        (tmp_path / f"{name}.tsv").write_text(f"0\t0.2\t1\n0.2\t{end}\t2\n")
    rows = [{"file": f"{n}.wav", "patient": n, "states": f"{n}.tsv"} for n in "ab"]
    write_table(tmp_path, rows)
    path = describe(tmp_path, '[labels.states]\nkind = "states"\n', sound=True)
    (problem,) = check_own(read_description(path)).problems
    assert problem.line == 3
    assert "its states end at 60 s, and the recording b lasts 5 s" in problem.text


def test_absolute_paths_inside_the_folder_are_relative_ones(tmp_path: Path) -> None:
    rows = pictures(tmp_path / "real")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for i, row in enumerate(rows):
        row["file"] = str(tmp_path / ("real", "link")[i % 2] / row["file"])
    write_table(tmp_path / "real", rows)
    description = read_description(describe(tmp_path / "real", _SICK))
    assert read_own_table(description).rows[0].id == "p000"
    through_link = read_description(tmp_path / "link" / "clinic.toml")
    for table in (read_own_table(description), read_own_table(through_link)):
        assert all(row.files["file0"] == f"{row.patient}.png" for row in table.rows)
    assert len(read_own_table(through_link).rows) == len(rows)
    outside = read_own_table(description).problems[0].text
    assert "write paths relative to the folder, or name the folder of all files" in outside


def test_a_folder_that_was_moved_is_told_once(tmp_path: Path) -> None:
    write_table(tmp_path, pictures(tmp_path, patients=3))
    with pytest.raises(LayoutError, match=r"names the folder /nowhere, which is not there"):
        read_own_table(read_description(describe(tmp_path, _SICK, folder="/nowhere")))


def test_classes_may_be_written_in_another_case(tmp_path: Path) -> None:
    rows = pictures(tmp_path, patients=4)
    for row in rows:
        row["sick"] = row["sick"].upper()
    write_table(tmp_path, rows)
    found = read_own_table(read_description(describe(tmp_path, _SICK)))
    assert [row.values["sick"] for row in found.rows] == [0, 1, 0, 1]
    two = '[labels.sick]\nkind = "classes"\nclasses = ["No", "no", "yes"]\n'
    unclear = read_own_table(read_description(describe(tmp_path, two)))
    assert [row.values["sick"] for row in unclear.rows] == [2, 2]


def test_columns_that_are_absent_are_named(tmp_path: Path) -> None:
    write_table(tmp_path, pictures(tmp_path))
    path = describe(tmp_path, '[labels.GLS]\nkind = "value"\n')
    with pytest.raises(LayoutError, match="no column 'GLS'; it has file, patient, EF, sick"):
        read_own_table(read_description(path))


def test_names_and_letters_of_etab_are_refused(tmp_path: Path) -> None:
    write_table(tmp_path, pictures(tmp_path))
    path = describe(tmp_path, VALUE)
    path.write_text(path.read_text().replace('"clinic"', '"camus"'))
    with pytest.raises(UnsupportedOptionError, match="name of a dataset of etab"):
        use_own_data(path)
    path = describe(tmp_path, VALUE, code="C")
    with pytest.raises(UnsupportedOptionError, match="the letter 'C' belongs to camus"):
        use_own_data(path)


def test_a_changed_table_is_other_data(tmp_path: Path) -> None:
    rows = pictures(tmp_path)
    write_table(tmp_path, rows)
    path = describe(tmp_path, VALUE)
    first = run(path, tmp_path / "r")["EF"]
    rows[0]["EF"] = 55.5
    write_table(tmp_path, rows)
    second = run(path, tmp_path / "r2")["EF"]
    assert first.data_digest != second.data_digest


def test_a_parquet_table_is_the_same_data(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    rows = pictures(tmp_path)
    write_table(tmp_path, rows)
    path = describe(tmp_path, VALUE + SICK)
    expected = read_own_table(read_description(path))
    pd.DataFrame(rows).to_parquet(tmp_path / "clinic.parquet")
    path.write_text(path.read_text().replace("clinic.csv", "clinic.parquet"))
    assert read_own_table(read_description(path)) == expected


def _flac(path: Path, wave: np.ndarray, rate: int = 2000) -> Path:
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("flac", rate=rate, layout="mono")
        part = av.AudioFrame.from_ndarray(wave[None], format="s16", layout="mono")
        part.sample_rate = rate
        for packet in (*stream.encode(part), *stream.encode(None)):
            container.mux(packet)
    return path


def test_a_comment_of_a_flac_sound_that_is_no_text_does_no_harm(tmp_path: Path) -> None:
    path = _flac(tmp_path / "a.flac", np.arange(4000, dtype=np.int16))
    raw = path.read_bytes()
    assert b"encoder=" in raw
    path.write_bytes(raw.replace(b"encoder=", b"encod\xff\xff="))
    samples, rate = read_sound(path)
    assert (len(samples), rate) == (4000, 2000)


def test_a_flac_sound_is_read_as_written(tmp_path: Path) -> None:
    wave = (20000 * np.sin(np.arange(4000) / 20)).astype(np.int16)
    path = _flac(tmp_path / "a.flac", wave)
    samples, rate = read_sound(path)
    assert rate == 2000
    assert samples == pytest.approx(wave / 32768, abs=1e-4)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(CorruptFileError, match="is not a whole FLAC file: it ends early"):
        read_sound(path)
    path.write_bytes(b"OggS" + bytes(40))
    with pytest.raises(CorruptFileError, match="is not a FLAC file: it begins with b'OggS'"):
        read_sound(path)


def test_a_flac_sound_at_no_rate_of_sounds_is_refused(tmp_path: Path) -> None:
    path = _flac(tmp_path / "a.flac", np.arange(4000, dtype=np.int16), rate=20)
    with pytest.raises(CorruptFileError, match="a rate of 20 Hz; wanted 100 to 1,000,000 Hz"):
        read_sound(path)


def test_from_a_folder_to_a_board(tmp_path: Path) -> None:
    folder = tmp_path / "clinic"
    rows = pictures(folder)
    write_table(folder, rows, "labels.csv")
    drafted = call("data", "init", folder)
    assert drafted.exit_code == 0, drafted.output
    description = folder / "clinic.toml"
    assert read_description(description).labels[1].classes == ("no", "yes")
    checked = call("data", "check", description)
    assert checked.exit_code == 0, checked.output
    results = tmp_path / "results"
    words = ("--backbones", "image_stats", "--results", results, "--workers", 2)
    done = call("run", "--data", description, "--cache", tmp_path / "c", *words)
    assert done.exit_code == 0, done.output
    for code in [code for code, task in TASKS.items() if task.dataset == "clinic"]:
        TASKS.remove(code)
    board = call("leaderboard", results)
    assert board.exit_code == 0, board.output
    assert "clinic (cv5x5)" in board.stdout
    assert sum("image_stats" in line for line in board.stdout.splitlines()) >= 3
    assert "image_stats" in call("results", results).stdout
    both = call("run", "--data", description, "--root", folder, *words)
    assert "leave out --root" in str(both.exception)
    again = call("data", "init", folder)
    assert "is there already" in str(again.exception)


def test_init_tells_patients_and_views_from_names(tmp_path: Path) -> None:
    folder = tmp_path / "echo"
    pictures(folder)
    (folder / "p000.png").rename(folder / "p000_4CH.png")
    assert call("data", "init", folder).exit_code == 0
    table = (folder / "echo.csv").read_text()
    assert "p000_4CH.png,p000,A4C," in table
    with pytest.raises(LayoutError, match="has no label"):
        read_description(folder / "echo.toml")


def test_init_names_what_an_empty_folder_lacks(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    failed = call("data", "init", tmp_path)
    assert "holds no recording" in str(failed.exception)


def equal(path: Path, root: Path, tasks: dict[str, str], results: Path, backbone: str) -> None:
    """A table of one's own gives the values of the named source."""
    own = run(path, results / "own", backbone)
    codes = ",".join(tasks[name] for name in own)
    runs = plan(codes, [backbone], protocols=("cv",))
    named = {cell.task: cell for cell in execute(runs, Settings(root=root, results=results / "n"))}
    assert set(own) == set(tasks)
    for name, cell in own.items():
        expected = named[tasks[name]]
        assert cell.n_test == expected.n_test, name
        assert (cell.metric, set(cell.metrics)) == (expected.metric, set(expected.metrics)), name
        for metric, value in expected.metrics.items():
            assert cell.metrics[metric] == pytest.approx(value, rel=1e-9, abs=1e-12), (name, metric)


@pytest.mark.slow
def test_camus_as_a_table_gives_the_same_values(tmp_path: Path) -> None:
    phantom.write(tmp_path, patients=12, seed=1, size=64, names=("camus",))
    (tmp_path / "own").mkdir()
    path = camus_as_table(tmp_path / "camus", tmp_path / "own")
    (tmp_path / "own" / "PHANTOM").touch()
    equal(path, tmp_path / "camus", CAMUS_TASKS, tmp_path / "r", "image_stats")


@pytest.mark.slow
def test_circor_as_a_table_gives_the_same_values(tmp_path: Path) -> None:
    phantom.write(tmp_path, patients=24, seed=1, names=("circor",))
    (tmp_path / "own").mkdir()
    path = circor_as_table(tmp_path / "circor", tmp_path / "own")
    (tmp_path / "own" / "PHANTOM").touch()
    equal(path, tmp_path / "circor", CIRCOR_TASKS, tmp_path / "r", "envelopes")


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.timeout(1800)  # masks by likelihood on all patients
def test_the_real_camus_as_a_table_gives_the_same_values(real_data: Path, tmp_path: Path) -> None:
    path = camus_as_table(real_data / "camus", tmp_path)
    equal(path, real_data / "camus", CAMUS_TASKS, tmp_path / "r", "image_stats")


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.timeout(1800)  # masks by likelihood on all patients
def test_the_real_circor_as_a_table_gives_the_same_values(real_data: Path, tmp_path: Path) -> None:
    root = tmp_path / "circor"
    (root / "training_data").mkdir(parents=True)
    published = real_data / "circor" / "training_data"
    names = sorted(path.stem for path in published.glob("*.txt"))
    for name in names[:120]:
        for file in published.glob(f"{name}*"):
            (root / "training_data" / file.name).symlink_to(file)
    path = circor_as_table(root, tmp_path)
    equal(path, root, CIRCOR_TASKS, tmp_path / "r", "envelopes")


def test_frames_beyond_the_end_are_named(tmp_path: Path) -> None:
    pictures(tmp_path, patients=1)
    with pytest.raises(UnsupportedOptionError, match="frame 3 does not exist"):
        read_frames(tmp_path / "p000.png", [3])
    shutil.copy(tmp_path / "p000.png", tmp_path / "x.gif")
    with pytest.raises(LayoutError, match=r"ends with \.gif"):
        read_frames(tmp_path / "x.gif")


def test_labels_of_frames_that_do_not_exist_are_listed(tmp_path: Path) -> None:
    rows = pictures(tmp_path)
    for row in rows:
        row["fr"] = "0"
    rows[3]["fr"] = "500"
    write_table(tmp_path, rows)
    path = describe(tmp_path, VALUE + 'frames = "fr"\n')
    (problem,) = check_own(read_description(path)).problems
    assert problem.line == 5
    assert "EF is of frame 500, and the recording has 1 frames" in problem.text


def test_a_mask_whose_name_begins_with_file_is_no_picture(tmp_path: Path) -> None:
    rows = clips(tmp_path)
    write_table(tmp_path, rows)
    section = '[labels.file_mask]\nkind = "mask"\ncolumn = "mask"\nframes = "mask_frames"\n'
    path = describe(tmp_path, section)
    assert check_own(read_description(path)).ok
    plain = describe(tmp_path, section.replace("file_mask", "LV"))
    sizes = {}
    for name, description in (("file_mask", path), ("LV", plain)):
        source = own_source(read_description(description))(tmp_path)
        sizes[name] = [source.n_frames(record) for record in source.records()]
    assert sizes["file_mask"] == sizes["LV"]


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ('aggregate = "nonsense"\nper = "patient"\n', "No aggregation is called 'nonsense'"),
        ("clip = [8, 2]\n", "clip"),
    ],
)
def test_keys_that_cannot_act_are_refused(lines: str, problem: str, tmp_path: Path) -> None:
    write_table(tmp_path, pictures(tmp_path))
    with pytest.raises(EtabError, match=problem):
        use_own_data(describe(tmp_path, VALUE + lines))


@pytest.mark.slow
def test_results_of_two_tables_and_of_a_label_that_is_gone(tmp_path: Path) -> None:
    words = ("--backbones", "image_stats", "--cache", tmp_path / "c", "--workers", 1)
    results = tmp_path / "results"
    write_table(tmp_path, pictures(tmp_path))
    path = describe(tmp_path, VALUE + SICK)
    assert call("run", "--data", path, "--results", results, *words).exit_code == 0
    other = tmp_path / "other.toml"
    other.write_text(path.read_text().replace('"clinic"', '"other"'))
    clash = call("run", "--data", other, "--results", results, *words)
    assert "letter 'Z'" in str(clash.exception)
    assert not (results / "other").exists()
    kept = results / "clinic" / "data.toml"
    before = kept.read_bytes()
    path = describe(tmp_path, VALUE)
    refused = call("run", "--data", path, "--results", results, *words)
    assert "never overwritten" in str(refused.exception)
    assert kept.read_bytes() == before
    shutil.copy(path, kept)
    for code in [code for code, task in TASKS.items() if task.dataset == "clinic"]:
        TASKS.remove(code)
    board = call("leaderboard", results)
    assert board.exit_code == 0, board.output
    assert "image_stats" in board.stdout


def test_options_of_a_board_are_refused_where_there_is_none(
    phantom_tree: Callable[..., Path], tmp_path: Path
) -> None:
    root = phantom_tree(["camus"]) / "camus"
    results = tmp_path / "r"
    run_words = ("--root", root, "--backbones", "image_stats", "--cache", tmp_path / "c")
    call("run", "--tasks", "b0-A4-C", "--protocol", "cv", "--results", results, *run_words)
    weighed = call("leaderboard", results, "--task-weight", "b0-A4-C=2", "--with-seen")
    assert "--task-weight, --with-seen act on a board" in str(weighed.exception)
    unknown = call("leaderboard", results, "--protocol", "cv55")
    assert "no results by cv55 with seed 0" in str(unknown.exception)
    assert call("leaderboard", results).exit_code == 0
