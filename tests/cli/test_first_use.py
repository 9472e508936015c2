"""What a newcomer runs first ends in values: tables of cells, boards of any tasks, own names."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner
from typer.testing import Result as Ran

from etab import backbones, phantom
from etab.backbones.weights.index import read_file
from etab.backbones.weights.recognise import is_cut_archive, not_weights
from etab.cli import board_site, doctor
from etab.cli import boards as cli_boards
from etab.cli import main as main_module
from etab.cli.encoders import named_encoders, require_board_names
from etab.cli.main import app
from etab.errors import EtabError, UnknownNameError, UnsupportedOptionError, WeightsError
from etab.leaderboard.plain import folder_cells, protocol_held, suite_held
from etab.metrics.intervals import interval_of
from etab.results import read_results
from tests import made
from tests.commands import ROOT
from tests.commands import etab as etab_command


def call(*words: object) -> Ran:
    return CliRunner().invoke(app, [str(word) for word in words])


@dataclass(frozen=True)
class Place:
    data: Path
    results: Path
    run: Ran


@pytest.fixture(scope="module")
def place(phantom_tree: Callable[..., Path]) -> Place:
    folder = phantom_tree(["camus"])
    run = call(*run_words(folder, "image_stats,pixel_pca"))
    return Place(folder, folder / "results", run)


def run_words(folder: Path, backbones: str, tasks: str = "b0-A4") -> Sequence[object]:
    where = ("--root", folder / "camus", "--results", folder / "results", "--cache", folder / "c")
    return ("run", "--tasks", tasks, "--backbones", backbones, "--protocol", "cv", *where)


def values_of(output: str) -> list[str]:
    return [line for line in output.splitlines() if line.startswith("b0-A4-C ")]


def test_a_run_ends_with_its_values(place: Place) -> None:
    assert place.run.exit_code == 0, place.run.output
    assert "2 cells computed, 0 already finished, 0 failed." in place.run.stdout
    assert len(values_of(place.run.stdout)) == 2
    assert "PHANTOM" in place.run.stdout
    again = call(*run_words(place.data, "image_stats,pixel_pca"))
    assert values_of(again.stdout) == values_of(place.run.stdout)


def test_a_board_of_an_incomplete_suite_is_a_table_of_cells(place: Place) -> None:
    board = call("leaderboard", place.results)
    assert board.exit_code == 0, board.output
    assert values_of(board.stdout) == values_of(place.run.stdout)
    assert "missing" not in board.stdout
    assert "--tasks" in board.stdout


def test_tasks_are_ranked_without_a_suite(place: Place, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    board = call("leaderboard", place.results, "--tasks", "b0", "--html", page)
    assert board.exit_code == 0, board.output
    assert "rank" in board.stdout
    assert page.is_file()
    absent = call("leaderboard", place.results, "--tasks", "a0")
    assert "It has results for: b0-A4-C" in str(absent.exception)
    both = call("leaderboard", place.results, "--tasks", "b0", "--suite", "camus")
    assert "give one of them" in str(both.exception)


def test_a_named_suite_shows_the_values_of_backbones_without_a_rank(place: Place) -> None:
    board = call("leaderboard", place.results, "--suite", "camus", "--protocol", "cv5")
    assert "12 missing" in board.stdout
    assert len(values_of(board.stdout)) == 2


def test_results_lists_cells_and_names_what_is_left_out(place: Place, tmp_path: Path) -> None:
    listed = call("results", place.results)
    assert values_of(listed.stdout) == values_of(place.run.stdout)
    (tmp_path / "camus").mkdir()
    (tmp_path / "camus" / "x.json").write_text("{")
    damaged = call("results", tmp_path)
    assert "holds no result that can be used. 1 left out; the first: " in str(damaged.exception)


def test_written_tables_hold_the_values(place: Place, tmp_path: Path) -> None:
    csv = tmp_path / "cells.csv"
    markdown = tmp_path / "cells.md"
    call("leaderboard", place.results, "--csv", csv, "--markdown", markdown)
    assert len(csv.read_text().splitlines()) == 3
    assert len(markdown.read_text().splitlines()) == 4
    page = call("leaderboard", place.results, "--html", tmp_path / "page.html")
    assert "--tasks" in str(page.exception)


@pytest.mark.parametrize("name", ["value", "low", "high", "level", "n_patients", "n_test"])
def test_a_number_that_was_changed_is_left_out_of_the_table(
    place: Place, tmp_path: Path, name: str
) -> None:
    shutil.copytree(place.results, tmp_path / "r")
    path = sorted((tmp_path / "r").rglob("*.json"))[0]
    record = json.loads(path.read_text())
    other = 2 * record[name] if name.startswith("n_") else 0.99 * record[name]
    path.write_text(json.dumps({**record, name: other}))
    cells = folder_cells(tmp_path / "r")
    assert len(cells.results) == 1
    assert len(cells.problems) == 1
    listed = call("results", tmp_path / "r")
    assert "1 of 2 files are left out" in listed.stderr
    assert len(values_of(listed.stdout)) == 1


@pytest.mark.parametrize(("value", "n_shown"), [(1.0, 1), (0.5, 0)])
def test_results_of_an_unknown_task_are_computed_too(
    tmp_path: Path, value: float, n_shown: int
) -> None:
    table = made.predictions("b0-A4-C")
    interval = interval_of("b0-A4-Q", "mae", 0, table)
    known = made.result(table, "b0-A4-C")
    changes = {"task": "b0-A4-Q", "low": interval.low, "high": interval.high}
    record = replace(known, **changes, value=value * known.value)
    record.save(tmp_path, table)
    cells = folder_cells(tmp_path)
    assert len(cells.results) == n_shown
    assert len(cells.problems) == 1 - n_shown


@pytest.mark.slow
def test_published_folders_show_their_suite_and_protocol() -> None:
    for name, suite in (("results", "camus"), ("results_sounds_full", "sounds")):
        held = read_results(Path("benchmarks") / name).results
        chosen = suite_held(held, 0)
        assert chosen is not None
        assert chosen.name == suite
        assert protocol_held(held, chosen, 0).startswith("cv5")


@pytest.mark.slow
def test_a_named_encoder_is_paired_with_its_random_twin(place: Place, tmp_path: Path) -> None:
    import timm

    torch.manual_seed(1)
    network = timm.create_model("resnet10t", pretrained=False)
    weights = tmp_path / "mine.pth"
    torch.save(network.state_dict(), weights)
    word = f"mine=local:{weights}@timm/resnet10t"
    run = call(*run_words(place.data, word))
    assert run.exit_code == 0, run.output
    names = {line.split()[1] for line in values_of(run.stdout)}
    assert names == {"mine", "random/mine"}
    board = call("leaderboard", place.results, "--tasks", "b0", "--csv", tmp_path / "b.csv")
    assert board.exit_code == 0, board.output
    assert str(weights) not in (tmp_path / "b.csv").read_text()


@pytest.mark.slow
def test_a_name_never_stands_for_other_weights(place: Place, tmp_path: Path) -> None:
    import timm

    folder = tmp_path / "results"
    for seed in (1, 2):
        torch.manual_seed(seed)
        network = timm.create_model("resnet10t", pretrained=False)
        torch.save(network.state_dict(), tmp_path / f"{seed}.pth")
    words = [
        (*run_words(place.data, f"own=local:{tmp_path}/{seed}.pth@timm/resnet10t"),)
        for seed in (1, 2)
    ]
    first = call(*words[0], "--results", folder)
    assert first.exit_code == 0
    second = call(*words[1], "--results", folder)
    assert isinstance(second.exception, EtabError)
    assert "made with different weights. Results are never over" in str(second.exception)


@pytest.mark.parametrize(
    ("word", "problem"),
    [
        ("pixel_pca=mobilenetv2", "name of another backbone"),
        ("random/x=mobilenetv2", "name of another backbone"),
        ("my encoder=mobilenetv2", "wanted 1 to 80"),
        ("../x=mobilenetv2", "no part of it may be"),
        ("=mobilenetv2", "wanted 1 to 80"),
        ("mobilenet_v2=torchvision/mobilenet_v2", "looks like the published mobilenetv2: capital"),
    ],
)
def test_a_name_that_cannot_stand_on_a_board_is_refused(word: str, problem: str) -> None:
    with pytest.raises(UnsupportedOptionError, match=problem):
        named_encoders([word])


@pytest.mark.parametrize(
    ("word", "proposed"),
    [
        ("transformers//home/me/vit-b", "vit_b=transformers//home/me/vit-b"),
        ("transformers/./vit", "vit=transformers/./vit"),
        ("random/transformers/../m/vit", "vit=random/transformers/../m/vit"),
        (f"local:/{'d' * 80}/w.pth@timm/resnet18", f"w=local:/{'d' * 80}/w.pth@timm/resnet18"),
        ("vectors:/my files/v.npz ", "'v=vectors:/my files/v.npz '"),
        ("onnx:a=b/net-1.onnx", "net_1=onnx:a=b/net-1.onnx"),
        ("local:$$$.pth@timm/resnet18", "'mine=local:$$$.pth@timm/resnet18'"),
    ],
)
def test_a_place_that_is_no_name_of_a_board_is_told_before_anything_is_computed(
    word: str, proposed: str
) -> None:
    with pytest.raises(UnsupportedOptionError) as raised:
        require_board_names([word])
    assert str(raised.value).endswith(f"Give it a name of your own: --backbones {proposed}")


@pytest.mark.parametrize("command", ["run", "plan", "finetune"])
def test_every_command_that_stores_results_asks_for_such_names(
    command: str, tmp_path: Path
) -> None:
    (tmp_path / "w.pth").touch()
    place = f"local:{tmp_path}{'/.' * 40}/w.pth@timm/resnet10t"
    tasks = ("b0-A4-C",) if command == "plan" else ("--tasks", "b0-A4-C")
    words = (*tasks, "--backbones", place)
    said = str(call(command, *words, "--results", tmp_path / "r").exception)
    assert said.endswith(f"w={place}")
    assert not (tmp_path / "r").exists()


def test_a_path_with_an_equals_sign_is_no_name() -> None:
    with pytest.raises(WeightsError, match=r"There is no ONNX file a=b/c\.onnx"):
        named_encoders(["onnx:a=b/c.onnx"], pretrained=["onnx:a=b/c.onnx=camus"])


def test_lists_can_be_searched_and_parsed() -> None:
    tasks = call("list", "tasks")
    lines = [line for line in tasks.stdout.splitlines() if line.startswith("a0-A2-C ")]
    assert len(lines) == 1
    assert "left ventricle" in lines[0]
    chosen = call("list", "tasks", "camus", "DICE")
    assert len(chosen.stdout.splitlines()) == 2 + 6
    rows = json.loads(call("list", "backbones", "--json").stdout)
    assert "mobilenetv2" in {row["name"] for row in rows}
    assert "backbones" in str(call("list").exception)
    assert "contains nosuchword" in str(call("list", "tasks", "nosuchword").exception)
    models = call("list", "timm", "resnet18")
    assert "timm/resnet18 " in models.stdout


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("resnet18", "Did you mean 'timm/resnet18'"),
        ("encoder.onnx", "Did you mean 'onnx:encoder.onnx'"),
        ("mine.npz", "Did you mean 'vectors:mine.npz'"),
        ("mine.parquet", "Did you mean 'vectors:mine.parquet'"),
        ("random/resnet18", "Did you mean 'random/timm/resnet18'"),
        ("plain.pth", "Did you mean 'local:plain.pth@timm/<model>'"),
        ("weights/a.safetensors@timm/resnet18", "'local:weights/a.safetensors@timm/resnet18'"),
        ("pixelpca", "Did you mean 'pixel_pca'"),
        ("timm/resnet19", "Did you mean 'resnet18'"),
        ("nonsense", "etab list backbones"),
    ],
)
def test_a_wrong_name_gets_a_short_suggestion(name: str, meant: str) -> None:
    with pytest.raises(UnknownNameError, match=re.escape(meant)) as raised:
        backbones.card(name)
    assert len(str(raised.value)) < 500
    assert "birdnet" not in str(raised.value)


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("photo.txt", "x")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "an empty file of 0 bytes"),
        (b"hello", "text of 5 bytes"),
        (b"<!DOCTYPE html><p>Sign in</p>", "an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\n", "a Git LFS pointer"),
        (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
        (b"\x1f\x8b\x08", "a gzip archive"),
        (b"\x89HDF\r\n\x1a\n\x00", "an HDF5 file"),
        (b"\x93NUMPY\x01\x00", "a NumPy array"),
        (bytes(range(255, 0, -1)) * 9, "holds no weights that can be read|cannot be read"),
        (b"\x80\x02}q\x00X\x09\x00\x00\x00", "holds no weights that can be read|cannot be read"),
        (None, "a zip archive of other files"),
    ],
)
def test_a_file_that_holds_no_weights_is_called_what_it_is(
    content: bytes | None, kind: str, tmp_path: Path
) -> None:
    for suffix in (".pth", ".safetensors"):
        path = tmp_path / f"weights{suffix}"
        if content is None:
            zipped(path)
        else:
            path.write_bytes(content)
        with pytest.raises(WeightsError, match=kind) as raised:
            read_file(path)
        assert "trust" not in str(raised.value)


def test_a_size_makes_other_encoders_and_their_twins() -> None:
    cards = named_encoders(["mine=mobilenetv2", "pixel_pca"], 448, "letterbox")
    names = [getattr(card, "name", card) for card in cards]
    assert names == [
        "mine@448+letterbox",
        "random/mine@448+letterbox",
        "pixel_pca@448+letterbox",
    ]


def test_the_twin_of_a_local_file_has_its_size(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"weight": torch.zeros(1)}, path)
    cards = named_encoders([f"mine=local:{path}@timm/resnet10t@96"])
    sizes = {getattr(card, "name", card): getattr(card, "size", None) for card in cards}
    assert sizes == {"mine": 96, "random/mine": 96}


def test_an_archive_that_was_cut_short_is_called_so(tmp_path: Path) -> None:
    path = tmp_path / "cut.pth"
    torch.save({"weights": torch.zeros(100)}, path)
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(WeightsError, match=r"cut short or is damaged.*after 700 bytes"):
        read_file(path)


def test_an_archive_that_claims_several_disks_is_damaged(tmp_path: Path) -> None:
    """zipfile raises for such an archive where others are only no archives."""
    path = tmp_path / "disks.pth"
    torch.save({"weights": torch.zeros(100)}, path)
    content = path.read_bytes()
    end = content.rindex(b"PK\x05\x06")
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, 0, 5)
    path.write_bytes(content[:end] + locator + content[end:])
    assert is_cut_archive(path)
    assert not_weights(path) == ""  # torch may read it none the less


def test_a_pickle_that_runs_code_is_refused_without_the_advice_of_torch(tmp_path: Path) -> None:
    path = tmp_path / "code.pth"
    path.write_bytes(pickle.dumps({"weights": os.getcwd}))
    with pytest.raises(WeightsError, match="would run code") as raised:
        read_file(path)
    assert "\x1b" not in str(raised.value)
    assert "two options" not in str(raised.value)


@pytest.mark.parametrize("words", [["version"], ["list", "tasks"]])
def test_output_that_nobody_reads_any_more_ends_quietly(words: list[str]) -> None:
    """As by head or a pager that was left: no traceback and no talk of finished cells."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    command = [sys.executable, "-m", "etab", *words]
    ran = subprocess.run(command, stdout=write_end, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    os.close(write_end)
    assert (ran.returncode, ran.stderr) == (141, "")


def test_the_end_of_a_process_of_etab_is_no_end_of_a_reader(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its pipe breaks, too: that is a fault, and is told as one."""

    def refuse(**_: object) -> None:
        raise BrokenPipeError

    read_end, write_end = os.pipe()
    monkeypatch.setattr(main_module, "app", refuse)
    kept = [(number, os.dup(number)) for number in (1, 2)]
    try:
        for number, _ in kept:
            os.dup2(write_end, number)
        with pytest.raises(BrokenPipeError):
            main_module.main()
    finally:
        for number, copy in kept:
            os.dup2(copy, number)
            os.close(copy)
        os.close(read_end)
        os.close(write_end)


@pytest.mark.parametrize("tasks", [("--tasks", "b0"), ()], ids=["board", "table"])
def test_files_are_written_before_anything_is_said(
    tasks: Sequence[str], place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`etab leaderboard ... | head -1` ends the command at its second line."""

    def refuse(*_: object, **__: object) -> None:
        raise BrokenPipeError

    for module in (cli_boards, board_site):
        monkeypatch.setattr(module, "say", refuse)
    files = {"--csv": tmp_path / "b.csv", "--markdown": tmp_path / "b.md"}
    if tasks:
        files |= {"--html": tmp_path / "site", "--numbers": tmp_path / "b.json"}
    call("leaderboard", place.results, *tasks, *(word for pair in files.items() for word in pair))
    assert [path for path in files.values() if not path.exists()] == []


def test_a_folder_without_one_usable_file_is_no_empty_table(place: Place, tmp_path: Path) -> None:
    for path in shutil.copytree(place.results, tmp_path / "old").rglob("*.json"):
        path.write_text('{"schema": 0}')
    with pytest.raises(
        EtabError,
        match=r"holds no result that can be used\. \d+ left out; .* has schema 0.* new folder",
    ):
        raise call("leaderboard", tmp_path / "old").exception or AssertionError
    with pytest.raises(EtabError, match=r"holds no result that can be used"):
        raise call("results", tmp_path / "old").exception or AssertionError


def test_an_error_of_usage_names_the_help() -> None:
    ran = etab_command("data", "check")
    assert ran.returncode == 2
    assert ran.stderr.endswith("`etab data check --help` shows the usage.\n")


def test_version_is_an_option_and_a_command() -> None:
    assert call("--version").stdout == call("version").stdout


def test_a_backbone_is_checked_from_the_command_line() -> None:
    good = call("check", "backbone", "image_stats")
    assert good.exit_code == 0
    assert "meets the contract" in good.stdout
    named = call("check", "backbone", "mine=pixel_pca@64+crop")
    assert "mine meets the contract. It reads frames of 64 px" in named.stdout


def test_what_is_no_network_is_checked_too(tmp_path: Path) -> None:
    constant = call("check", "backbone", "constant")
    assert constant.exit_code == 0, constant.exception
    assert "meets the contract. It reads whole recordings of sound" in constant.stdout
    file = tmp_path / "v.npz"
    np.savez(file, keys=np.array(["camus/a", "camus/b"]), late=np.zeros((2, 5)))
    held = call("check", "backbone", f"vectors:{file}")
    assert "It holds vectors of 2 keys; layers and widths: late (5)." in held.stdout
    np.savez(file, keys=np.array(["camus/a", "camus/a"]), late=np.zeros((2, 5)))
    damaged = call("check", "backbone", f"vectors:{file}")
    assert "keys that occur more than once: " in str(damaged.exception)


def test_a_new_folder_for_a_file_is_made_and_said(place: Place, tmp_path: Path) -> None:
    new = tmp_path / "new"
    board = ("leaderboard", place.results, "--tasks", "b0")
    page = call(*board, "--html", new / "deep" / "page.html")
    assert f"wrote {new}/deep/page.html, in the new folder {new}\n" in page.stdout
    again = call(*board, "--html", new / "deep" / "page.html")
    assert f"wrote {new}/deep/page.html\n" in again.stdout
    table = call("leaderboard", place.results, "--csv", new / "tables" / "cells.csv")
    assert f"wrote {new}/tables/cells.csv, in the new folder {new}/tables\n" in table.stdout


def test_the_data_of_a_pretraining_are_said_on_the_command_line(
    place: Place, tmp_path: Path
) -> None:
    words = run_words(place.data, "mine=image_stats,pixel_pca")
    (control,) = (call(*words, "--pretrained-on", "mine=camus").exception,)
    assert "mine is a control, without pretraining" in str(control)
    for text, said in [
        ("camus", "is not NAME=DATA,DATA"),
        ("mine=", "is not NAME=DATA,DATA"),
        ("other=camus", "no backbone of --backbones is called 'other'. They are: mine, pixel_pca."),
    ]:
        assert said in str(call(*words, "--pretrained-on", text).exception)


def test_told_data_are_on_the_card_of_the_encoder_alone() -> None:
    scaled = "random/timm/resnet10t@mean=0.5"
    encoders = named_encoders(
        ["mine=timm/resnet10t", scaled, "image_stats"],
        96,
        "squash",
        ["mine=camus, other", "mine=x"],
    )
    cards = {card.name: card for card in encoders if not isinstance(card, str)}
    assert cards["mine@96"].pretraining_sets == ("camus", "other", "x")
    assert cards["random/mine@96"].pretraining_sets == ()
    (card, *_) = named_encoders(
        ["timm/resnet10t@mean=0.5"], pretrained=["timm/resnet10t@mean=0.5=camus"]
    )
    assert card.pretraining_sets == ("camus",)  # type: ignore[union-attr]


def test_doctor_looks_at_extras_and_proposes_commands_that_work(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor, "_EXTRAS", {"dicom": (("no_such_module",), "DICOM files")})
    findings = doctor.examine()
    (extra,) = [finding for finding in findings if finding.topic == "extra"]
    assert extra.next_step == 'pip install "etab-bench[dicom]"'
    steps = {finding.name: finding.next_step for finding in findings if finding.topic == "data"}
    assert "etab data phantom DIR --data tmed" in steps["tmed"]
    assert "phantom" not in steps["dicom"]
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert 'pip install "etab-bench[dicom]"' in call("doctor").stdout


def test_the_cache_is_measured_and_cleared(place: Place, tmp_path: Path) -> None:
    shutil.copytree(place.data / "c", tmp_path / "c")
    (tmp_path / "c" / "notes.txt").write_text("not of the cache")
    listed = call("cache", "--cache", tmp_path / "c")
    assert "image_stats" in listed.stdout
    call("cache", "--cache", tmp_path / "c", "--clear")
    assert call("cache", "--cache", tmp_path / "c").stdout.startswith("0 bytes")
    assert (tmp_path / "c" / "notes.txt").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "--tasks", "my_echo", "--backbones", "image_stats"), "--data clinic.toml"),
        (
            ("run", "--root", "/no/folder", "--backbones", "image_stats"),
            "/no/folder is not a folder",
        ),
        (("finetune", "--tuning", "lora"), "--tuning is 'lora'; possible: finetune"),
        (("data", "check", "camsu"), "Did you mean 'camus'"),
        (("data", "check", "clinic.toml"), "etab data init"),
    ],
)
def test_a_slip_is_answered_with_the_option_that_was_meant(
    words: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = call(*words)
    assert said in str(ran.exception)
    assert len(str(ran.exception)) < 600
    assert "recordings" not in ran.stderr


def test_a_cache_that_is_not_there_is_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = call("cache", "--cache", "nowhere")
    assert ran.exit_code == 0
    assert "0 " in ran.output


def test_trees_that_need_extras_are_named_where_all_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    monkeypatch.setattr(phantom, "write", lambda folder, **given: written.extend(given["names"]))
    shown = CliRunner().invoke(app, ["data", "phantom", str(tmp_path), "--data", "all"])
    assert written == list(phantom.NAMES)
    *_, last = shown.output.splitlines()
    assert last == (
        "Not written, because they need extra packages: --data "
        "circor_hf,echorisk,mimic_echo,echoxflow"
    )
    some = CliRunner().invoke(app, ["data", "phantom", str(tmp_path), "--data", "tmed"])
    assert "Not written" not in some.output
