"""`etab data init` on folders as people have them: what names, folders and tables tell."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.io import wavfile

from etab.datasets.own.check import check_own
from etab.datasets.own.description import read_description
from etab.datasets.own.draft import Draft, write_draft
from etab.datasets.own.guess import infer_from_names, without_masks
from etab.errors import LayoutError
from etab.tasks.own_labels import own_tasks
from etab.types import Kind
from tests import commands
from tests.datasets.own_tables import film, write_clip

SIDE = 32
pytestmark = pytest.mark.usefixtures("forget_own_data")


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (SIDE, SIDE), dtype=np.uint8)
    path.write_bytes(cv2.imencode(path.suffix.lower(), pixels)[1].tobytes())


def tree(folder: Path, names: Sequence[str]) -> Path:
    for seed, name in enumerate(names):
        picture(folder / name, seed)
    return folder


def table(draft: Draft) -> list[dict[str, str]]:
    with draft.table.open(newline="") as file:
        return list(csv.DictReader(file))


def column(draft: Draft, name: str) -> list[str]:
    return [row[name] for row in table(draft)]


def fits(draft: Draft) -> bool:
    """Whether every row of the draft can be used as it is."""
    return check_own(read_description(draft.description)).ok


def test_folders_of_classes_are_classes_and_not_patients(tmp_path: Path) -> None:
    names = [f"{word}/{word}_{i}.png" for word in ("amyloid", "normal") for i in range(4)]
    draft = write_draft(tree(tmp_path / "clinic", names))
    assert draft.patients == 8
    assert column(draft, "label") == ["amyloid"] * 4 + ["normal"] * 4
    assert "the folders amyloid, normal were taken for classes" in draft.render()
    assert "each file counts as a patient of its own" in draft.render()
    assert fits(draft)


def test_folders_of_a_split_are_a_split(tmp_path: Path) -> None:
    names = [
        f"{part}/{word}/{word}{part}{i}.png"
        for part in ("training", "test")
        for word in ("AS", "N")
        for i in range(3)
    ]
    draft = write_draft(tree(tmp_path / "clinic", names))
    assert set(column(draft, "split")) == {"train", "test"}
    assert set(column(draft, "label")) == {"AS", "N"}
    assert draft.patients == 12
    assert fits(draft)


@pytest.mark.parametrize(
    "mask", ["p{i}/p{i}_4CH_gt.png", "p{i}/p{i}_4CH_mask.png", "masks/p{i}/p{i}_4CH.png"]
)
def test_masks_are_no_recordings(mask: str, tmp_path: Path) -> None:
    folder = tree(tmp_path / "clinic", [f"p{i}/p{i}_4CH.png" for i in range(4)])
    for i in range(4):
        path = folder / mask.format(i=i)
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.zeros((SIDE, SIDE), np.uint8)
        pixels[4:9, 4:9] = 1
        pixels[20:25, 4:9] = 3
        cv2.imwrite(str(path), pixels)
    draft = write_draft(folder)
    assert draft.recordings == draft.patients == 4
    assert column(draft, "view") == ["A4C"] * 4
    labels = read_description(draft.description).labels
    assert [(label.kind, label.pixel) for label in labels] == [(Kind.MASK, 1), (Kind.MASK, 3)]
    assert fits(draft)


def test_a_table_of_names_without_folders_and_suffixes_is_copied(tmp_path: Path) -> None:
    folder = tree(tmp_path / "clinic", [f"Videos/0X{i:02}.png" for i in range(12)])
    rows = "".join(f"0X{i:02};{50 + i},5;{'TRAIN' if i < 8 else 'TEST'}\r\n" for i in range(11))
    (folder / "labels.csv").write_text(f"\ufeffFileName;EF;Split\r\n{rows}0X99;1;TEST\r\n")
    draft = write_draft(folder)
    assert draft.table.name == "clinic.csv"
    assert column(draft, "file")[0] == "Videos/0X00.png"
    assert column(draft, "EF")[0] == "50.5"
    assert read_description(draft.description).column("split") == "Split"
    for said in (
        "labels.csv was copied to clinic.csv",
        "1 row of labels.csv without a recording",
        "1 of 12 recordings are not in labels.csv",
        "patients were inferred from names",
    ):
        assert said in draft.render()
    assert fits(draft)


def test_a_table_in_a_folder_below_is_found(tmp_path: Path) -> None:
    folder = tree(tmp_path / "clinic", [f"clips/c{i}.png" for i in range(12)])
    (folder / "meta").mkdir()
    rows = "".join(f"clips/c{i}.png,p{i // 2},{40 + i}\n" for i in range(12))
    (folder / "meta" / "labels.csv").write_text(f"file,patient,EF\n{rows}")
    draft = write_draft(folder)
    assert (draft.table.name, draft.patients) == ("labels.csv", 6)
    assert fits(draft)


@pytest.mark.parametrize("begin", ["img\\", "C:\\scans\\img\\", "{}/img/", "/elsewhere/img/"])
def test_a_table_may_have_paths_of_another_computer(begin: str, tmp_path: Path) -> None:
    folder = tree(tmp_path / "clinic", [f"img/c{i}.png" for i in range(12)])
    path = begin.format(folder)
    rows = "".join(f"{path}c{i}.png,p{i // 2},{40 + i}.5\n" for i in range(12))
    (folder / "labels.csv").write_text(f"ImagePath,patient,EF\n{rows}")
    draft = write_draft(folder)
    description = read_description(draft.description)
    assert (draft.recordings, draft.patients) == (12, 6)
    assert [label.name for label in description.labels] == ["EF"]
    assert fits(draft)


def test_a_parquet_table_is_used_as_one_of_text_is(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    folder = tree(tmp_path / "clinic", [f"c{i}.png" for i in range(12)])
    columns = {
        "file": [f"c{i}.png" for i in range(12)],
        "patient": list(range(12)),
        "EF": [40.5 + i for i in range(12)],
        "frames": [[0, 1]] * 12,  # nested: no column of a table of text
    }
    parquet.write_table(pyarrow.table(columns), folder / "labels.parquet")
    draft = write_draft(folder)
    assert draft.table.name == "labels.parquet"
    assert [label.name for label in read_description(draft.description).labels] == ["EF"]
    assert fits(draft)


def test_what_a_table_does_not_list_is_told(tmp_path: Path) -> None:
    folder = tree(tmp_path / "clinic", [f"c{i}.png" for i in range(12)])
    for name, part in {"a": range(6), "b": range(6, 12)}.items():
        rows = "".join(f"c{i}.png,p{i},{40 + i}.5\n" for i in part)
        (folder / f"{name}.csv").write_text(f"file,patient,EF\n{rows}")
    said = write_draft(folder).render()
    assert "6 of 12 recordings are not in a.csv" in said
    assert "b.csv lists recordings, too, and is not used" in said


def test_columns_that_are_no_labels_are_told(tmp_path: Path) -> None:
    """Dates, free text, grouped thousands; numbers with leading zeros are ids."""
    folder = tree(tmp_path / "clinic", [f"c{i}.png" for i in range(12)])
    rows = "".join(
        f"c{i}.png;p{i};{i:05};{i + 1}.{100 + i},5;{i + 1}.03.2021;ward;{('A4C', 'long axis')[i % 2]}\n"
        for i in range(12)
    )
    (folder / "labels.csv").write_text(f"file;patient;visit;BNP;day;place;View\n{rows}")
    draft = write_draft(folder)
    said = draft.render()
    assert (
        "no label was made of visit (such as '00000'), BNP (such as '1.100,5'), day (such as "
        "'1.03.2021'): neither numbers nor 8 classes at most" in said
    )
    assert "the column View is not used for views, as it holds names that are not known" in said
    assert [label.name for label in read_description(draft.description).labels] == ["View"]


@pytest.mark.parametrize(
    ("header", "rows", "told"),
    [
        ("file,patient,view,EF", "{name},p{i},A4C,4{i}.5", ""),
        ("file,EF", "{name},4{i}.5", "correct the patients that were inferred wrongly"),
        ("", "", "correct the patients and views that were inferred wrongly"),
    ],
)
def test_only_what_was_inferred_has_to_be_corrected(
    header: str, rows: str, told: str, tmp_path: Path
) -> None:
    names = [f"{i}.png" if header else f"p{i}_4CH.png" for i in range(4)]
    folder = tree(tmp_path / "echo", names)
    if header:
        lines = [rows.format(name=name, i=i) for i, name in enumerate(names)]
        (folder / "table.csv").write_text("\n".join([header, *lines]))
    steps = write_draft(folder).steps
    assert [step for step in steps if "inferred wrongly" in step] == ([told] if told else [])


def test_many_tables_that_are_not_used_hide_no_other_remark(tmp_path: Path) -> None:
    folder = tree(tmp_path / "echo", ["p1.png", "p2.png"])
    for i in range(12):
        (folder / f"t{i:02d}.csv").write_text("a,b\n1,2\n")
    steps = write_draft(folder).steps
    assert sum("is not used: " in step for step in steps) == 8
    assert "4 more tables are not used" in steps


def test_long_whole_numbers_are_no_label(tmp_path: Path) -> None:
    names = [f"p{i}.png" for i in range(12)]
    folder = tree(tmp_path / "echo", names)
    lines = [f"{name},p{i},{7_000_000 + i},202401{10 + i},1{i}" for i, name in enumerate(names)]
    (folder / "table.csv").write_text("\n".join(["file,patient,accession,date,volume", *lines]))
    draft = write_draft(folder)
    assert [label.name for label in read_description(draft.description).labels] == ["volume"]
    assert any("accession (such as '7000000'), date (such as" in step for step in draft.steps)


@pytest.mark.slow
def test_a_table_of_sixty_columns_gives_a_description_that_is_read(tmp_path: Path) -> None:
    """Ten labels of a category fit into a description; the others are named."""
    names = [f"p{i}.png" for i in range(12)]
    folder = tree(tmp_path / "echo", names)
    header = ",".join(["file,patient", *(f"v{k:02},c{k:02}" for k in range(29))])
    rows = [f"{name},p{i}" + f",4{i}.5,{'ab'[i % 2]}" * 29 for i, name in enumerate(names)]
    (folder / "table.csv").write_text("\n".join([header, *rows]))
    draft = write_draft(folder)
    assert len(own_tasks(read_description(draft.description))) == 20
    assert fits(draft)
    told = next(step for step in draft.steps if "38 more columns seem to be labels" in step)
    assert told.endswith(
        "second file: v10, c10, " + ", ".join(f"v{k}, c{k}" for k in range(11, 29))
    )


def test_sounds_beside_pictures_are_told_and_can_be_described(tmp_path: Path) -> None:
    folder = tree(tmp_path / "clinic", [f"p{i}/echo.png" for i in range(4)])
    for i in range(3):
        samples = np.full(4000, 100 + i, np.int16)
        wavfile.write(folder / f"p{i}" / "heart.wav", 2000, samples)
    assert "3 sounds are not in the table" in write_draft(folder).render()
    done = commands.etab("data", "init", folder, "--sound", "--out", folder / "sounds.toml")
    assert done.returncode == 0, done.stderr
    assert "3 recordings of 3 patients" in done.stdout
    assert "4 pictures and clips are not in the table" in done.stdout
    with pytest.raises(LayoutError, match=r"none of its 4 files ends with \.wav"):
        write_draft(tree(tmp_path / "echo", [f"p{i}.png" for i in range(4)]), sound=True)


def test_objects_of_a_scanner_without_suffix_are_recordings(tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    folder = tmp_path / "export"
    for i in range(3):
        path = folder / "DICOM" / f"PA{i}" / "ST0" / f"1.2.840.{i}"
        path.parent.mkdir(parents=True)
        write_clip(path.with_name("x.dcm"), film(i, 3))
        path.with_name("x.dcm").rename(path)
    (folder / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    draft = write_draft(folder)
    assert draft.recordings == draft.patients == 3
    assert column(draft, "file")[0] == "DICOM/PA0/ST0/1.2.840.0"
    labels = '[labels.label]\nkind = "value"\n'
    draft.description.write_text(draft.description.read_text() + labels)
    draft.table.write_text(draft.table.read_text().replace(",,\n", ",,7\n"))
    assert fits(draft)


def test_commands_can_be_copied_where_a_path_has_spaces(tmp_path: Path) -> None:
    folder = tree(tmp_path / "Übung Herz", ["p1.png", "p2.png"])
    draft = write_draft(folder)
    assert draft.description.name == "ubung_herz.toml"
    assert f"etab data check '{draft.description}'" in draft.render()


@pytest.mark.parametrize(
    ("names", "patients"),
    [
        (["IMG_0.png", "IMG_1.png"], ("IMG_0", "IMG_1")),
        (["patient_001_A4C.png", "patient_001_2CH.png"], ("patient_001", "patient_001")),
        (["A4C_p1.png", "A4C_p2.png"], ("p1", "p2")),
        (["a/x.png", "b/x.png"], ("a", "b")),
        (["all/p1/A4C/x.png", "all/p2/A4C/x.png"], ("p1", "p2")),
        (["1.2.840.1.dcm", "1.2.840.2.dcm"], ("1.2.840.1", "1.2.840.2")),
        (["frames/p1.png", "images/p2.png"], ("p1", "p2")),
    ],
)
def test_patients_are_told_from_names(names: list[str], patients: tuple[str, ...]) -> None:
    inferred = infer_from_names(names)
    assert inferred.patients == patients


def test_a_mask_without_its_picture_is_a_recording() -> None:
    names = ["p1_gt.png", "p2.png", "p2_gt.png"]
    assert without_masks(names) == (["p1_gt.png", "p2.png"], {"p2.png": "p2_gt.png"})


@pytest.mark.parametrize(
    "name", ["Patient ID", "patient_id", "Patienten-Nr.", "SubjectID", "PID", "participant id"]
)
def test_columns_of_patients_are_told_by_many_names(name: str, tmp_path: Path) -> None:
    folder = tree(tmp_path / "clinic", [f"s{i}.png" for i in range(12)])
    rows = "".join(f"{i},s{i}.png,{i // 2:04},{40 + i}\n" for i in range(12))
    (folder / "labels.csv").write_text(f"Nr,Datei,{name},EF\n{rows}")
    draft = write_draft(folder)
    description = read_description(draft.description)
    assert (draft.patients, description.column("patient")) == (6, name)
    assert [label.name for label in description.labels] == ["EF"]
    assert fits(draft)


def test_columns_whose_cells_are_of_another_kind_have_no_role(tmp_path: Path) -> None:
    folder = tree(tmp_path / "clinic", [f"s{i}.png" for i in range(12)])
    rows = "".join(f"s{i}.png,p{i},{i % 5},{('lying', 'sitting')[i % 2]}\n" for i in range(12))
    (folder / "labels.csv").write_text(f"file,patient,fold,position\n{rows}")
    draft = write_draft(folder)
    description = read_description(draft.description)
    assert not description.columns
    assert [label.name for label in description.labels] == ["position"]
    assert "the column fold holds no train, val and test" in draft.render()
    assert fits(draft)


def test_a_table_of_patients_is_joined_to_their_recordings(tmp_path: Path) -> None:
    names = [f"p{i:02}/p{i:02}_{view}.png" for i in range(12) for view in ("2CH", "4CH")]
    folder = tree(tmp_path / "clinic", names)
    rows = "".join(f"p{i:02};{40 + i},5\r\n" for i in range(1, 13))
    (folder / "patients.csv").write_text(f"Patient;EF\r\n{rows}")
    draft = write_draft(folder)
    assert (draft.recordings, draft.patients) == (22, 11)
    assert column(draft, "view") == ["A2C", "A4C"] * 11
    assert column(draft, "EF")[:2] == ["41.5", "41.5"]
    for said in (
        "patients.csv was copied to clinic.csv, with the recordings of each patient",
        "2 of 24 recordings are of no patient in patients.csv",
        "1 patient of patients.csv without a recording",
    ):
        assert said in draft.render()
    assert fits(draft)


def test_a_table_with_several_rows_a_patient_is_not_joined(tmp_path: Path) -> None:
    folder = tree(tmp_path / "clinic", [f"p{i:02}/a.png" for i in range(4)])
    rows = "".join(f"p{i:02},{i}\n" for i in range(4) for _ in range(2))
    (folder / "visits.csv").write_text(f"patient,EF\n{rows}")
    assert "visits.csv is not used: no column holds names of the recordings, and several rows" in (
        write_draft(folder).render()
    )


def test_a_column_of_masks_is_a_label(tmp_path: Path) -> None:
    folder = tree(tmp_path / "echo", [f"images/p{i}.png" for i in range(4)])
    for i in range(4):
        picture(folder / "labels" / f"p{i}.png", 0)
        cv2.imwrite(str(folder / "labels" / f"p{i}.png"), np.eye(SIDE, dtype=np.uint8))
    rows = "".join(f"images/p{i}.png,p{i},labels/p{i}.png\n" for i in range(4))
    (folder / "t.csv").write_text(f"image,patient,seg\n{rows}")
    draft = write_draft(folder)
    (label,) = read_description(draft.description).labels
    assert (label.kind, label.column) == (Kind.MASK, "seg")
    assert fits(draft)


def test_files_of_states_beside_sounds_are_a_label(tmp_path: Path) -> None:
    folder = tmp_path / "sounds"
    folder.mkdir()
    for i in range(4):
        wavfile.write(folder / f"p{i}_AV.wav", 2000, np.full(4000, 100 + i, np.int16))
        (folder / f"p{i}_AV.tsv").write_text("0\t0.5\t1\n0.5\t1\t2\n")
    draft = write_draft(folder)
    assert [label.kind for label in read_description(draft.description).labels] == [Kind.STATES]
    assert fits(draft)


def test_recordings_that_differ_in_their_suffix_have_ids(tmp_path: Path) -> None:
    folder = tree(
        tmp_path / "clinic", [f"p{i}.{form}" for i in range(4) for form in ("png", "tif")]
    )
    draft = write_draft(folder)
    assert column(draft, "id") == column(draft, "file")
    assert fits(write_label(draft))


def write_label(draft: Draft) -> Draft:
    """Describe the column label of a draft that has no label yet."""
    with draft.description.open("a") as file:
        file.write('[labels.label]\nkind = "value"\n')
    return draft


def test_files_that_a_spreadsheet_leaves_are_no_tables(tmp_path: Path) -> None:
    folder = tree(tmp_path / "clinic", [f"p{i}.png" for i in range(4)])
    (folder / "~$Patienten.xlsx").write_bytes(b"lock")
    assert "~$Patienten" not in write_draft(folder).render()


@pytest.mark.parametrize(
    ("header", "cell", "labels"),
    [
        ("patient,view,EF", "good,{}", ["EF"]),
        ("patient,file,EF", "report.pdf,{}", ["EF"]),
        ("patient,EF,", "{},", ["EF"]),
        ("patient,LV/EF,a.b", "{},{}", ["LV_EF", "a.b"]),
        ('patient,EF "\U0001f600"', "{}", ['EF "\U0001f600"']),
    ],
)
def test_odd_columns_of_a_table_of_patients_give_a_description_that_is_read(
    header: str, cell: str, labels: list[str], tmp_path: Path
) -> None:
    folder = tree(
        tmp_path / "clinic", [f"p{i:02}/{v}.png" for i in range(11) for v in ("A2C", "A4C")]
    )
    rows = "".join(f"p{i:02},{cell.replace('{}', str(40 + i))}\n" for i in range(11))
    (folder / "patients.csv").write_text(f"{header}\n{rows}")
    draft = write_draft(folder)
    assert [label.name for label in read_description(draft.description).labels] == labels
    assert column(draft, "view") == ["A2C", "A4C"] * 11
    assert fits(draft)


def test_a_column_given_twice_is_told(tmp_path: Path) -> None:
    folder = tree(tmp_path / "clinic", [f"p{i}/a.png" for i in range(4)])
    (folder / "t.csv").write_text("patient,EF,EF\n" + "".join(f"p{i},1,{i}\n" for i in range(4)))
    assert "t.csv is not used: it has the column 'EF' twice" in write_draft(folder).render()


def test_a_table_with_several_files_in_a_cell_is_used_as_it_is(tmp_path: Path) -> None:
    folder = tree(tmp_path / "clinic", [f"p{i:02}/{k}.png" for i in range(10) for k in range(3)])
    rows = "".join(f"p{i:02}/0.png; p{i:02}/1.png;p{i:02}/2.png,p{i:02},{i}\n" for i in range(10))
    (folder / "clips.csv").write_text(f"file,patient,EF\n{rows}")
    draft = write_draft(folder)
    assert (draft.table.name, draft.recordings) == ("clips.csv", 10)
    assert fits(draft)


def test_files_whose_names_no_table_can_hold_are_told(tmp_path: Path) -> None:
    folder = tree(tmp_path / "clinic", [f"p{i}.png" for i in range(4)])
    try:
        (folder / "p3.png").rename(os.fsdecode(os.fsencode(folder) + b"/p3_\xe9.png"))
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    draft = write_draft(folder)
    assert draft.recordings == 3
    assert r"1 file is left out of the table: the name is not UTF-8" in draft.render()
    assert r"p3_\udce9.png" in draft.render()


def test_links_that_are_not_read_are_told(tmp_path: Path) -> None:
    folder = tree(tmp_path / "clinic", ["real/p1.png", "real/p2.png"])
    (folder / "copy.png").symlink_to("real/p1.png")
    assert "not read" not in write_draft(folder).render()
    (folder / "clinic.toml").unlink()
    (folder / "clinic.csv").unlink()
    (folder / "absent.png").symlink_to("nowhere.png")
    (folder / "more").symlink_to("real")
    told = write_draft(folder).render()
    assert "2 links to folders, or to files that are not there, are not read: absent.png" in told


def test_of_folders_in_folders_the_ones_taken_for_patients_are_told(tmp_path: Path) -> None:
    names = [f"site{i % 2}/p{i}/frame.png" for i in range(6)]
    draft = write_draft(tree(tmp_path / "clinic", names))
    assert draft.patients == 2
    assert (
        "the folders site0, site1 were taken for patients; correct the column patient if folders "
        "inside them are (p0, p1, p2 and 3 more)"
    ) in draft.render()
    assert "1 recording of 1 patient." in write_draft(tree(tmp_path / "one", ["p1.png"])).render()


@pytest.mark.parametrize(
    ("column", "cells", "kind"),
    [
        ("EF", "50.5 51.5 52.5", "value"),
        ("EF (%)", "50 51 52", "value"),
        ("sick", "0 1 0", "classes"),
        ("sick", "0.0 1.0 1.0", "classes"),
        ("grade", "1 2 3", "classes"),
    ],
)
def test_few_rows_of_measured_numbers_are_values(
    column: str, cells: str, kind: str, tmp_path: Path
) -> None:
    folder = tree(tmp_path / "clinic", [f"p{i}.png" for i in range(3)])
    rows = [f"p{i}.png,{cell}" for i, cell in enumerate(cells.split())]
    (folder / "labels.csv").write_text("\n".join([f"file,{column}", *rows]))
    assert f'kind = "{kind}"' in write_draft(folder).description.read_text()
