"""The table of speeds: its parts, its ratios, and the made board that it times."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.perf import (
    board,
    peers,
    run,
    table_boards,
    table_features,
    table_loops,
    table_reading,
    table_seed,
    table_sounds,
    table_statistics,
)
from benchmarks.perf.reading import Times
from benchmarks.perf.rows import Row, table
from etab import datasets, phantom
from etab.types import Array

ROW = Row("AUROC", 0.02, "scikit-learn", 5.0, "reading", 0.005, 200.0, "largest difference 1e-16")


def test_ratios_are_of_the_peer_and_of_the_limit() -> None:
    assert ROW.ratio == pytest.approx(250)
    assert ROW.distance == pytest.approx(4)
    line = table([ROW]).splitlines()[2]
    assert "20 ms" in line
    assert "5 s" in line
    assert "250 x" in line


def test_parts_are_found_and_those_left_out_keep_their_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {"board", "features", "reading", "sounds", "start", "statistics"} <= set(run.parts())

    def one() -> Iterator[Row]:
        yield ROW

    monkeypatch.setattr(table_statistics, "rows", one)
    record = tmp_path / "run.json"
    page = tmp_path / "performance.md"
    options = ["--parts", "statistics", "--record", str(record), "--page", str(page)]
    run.main(options)
    other = json.loads(record.read_text())
    other["start"] = other["statistics"]
    record.write_text(json.dumps(other))
    run.main(options)
    assert page.read_text().count("| AUROC |") == 2
    assert "load" in json.loads(record.read_text())["statistics"]
    with pytest.raises(SystemExit):
        run.main(["--parts", "nothing"])


@pytest.mark.parametrize(
    ("load", "words"), [(None, "not recorded"), (0.4, "otherwise idle"), (7.31, "a load of 7.3")]
)
def test_the_page_says_whether_the_machine_was_idle(load: float | None, words: str) -> None:
    assert words in run.load_words(load)


def test_one_division_may_take_half_as_long_again() -> None:
    """Processor time of what is finished is in neither number."""
    row = table_seed.row_of("one backbone", 3.0, 2.0, "`ridge`")
    assert row.wanted is not None
    assert row.ratio == pytest.approx(row.wanted, abs=0.01)
    assert "1.50 times" in row.task
    assert {group.now for group in table_seed.GROUPS} == {"stack", "mask_logistic"}


def test_whole_boards_stand_beside_the_time_allowed(tmp_path: Path) -> None:
    record = tmp_path / "sweep.json"
    stages = {"cold": {"seconds": 600.0, "peak_gb": 5.5, "protocol": "cv5x5"}}
    limits = {"cold": 900.0, "peak_gb": 6.0}
    record.write_text(json.dumps({"limits": limits, "measured": stages}))
    (row,) = table_boards.record_rows("CAMUS board", record)
    assert row.task == "CAMUS board, cold, cv5x5, peak 5.5 of 6 GB"
    assert row.ratio == pytest.approx(1.5)
    assert len(list(table_boards.rows())) == 6
    assert run.measured("boards")["load"] is None


def test_ways_of_reading_stand_beside_their_peers() -> None:
    found = Times(
        clip={"ours": 0.001, "echonet": 0.03, "floor": 0.0009},
        close={"ours": 0.0011, "floor": 0.001},
        batch={"ours": 0.002, "2022": 0.034, "cached": 0.0005},
        kept={"ours": 0.001, "cached": 0.00002},
        copied={"cached": 0.00003, "copied": 0.00002},
        grey=1.8,
        normalised=0.05,
    )
    clip, floor, batch, cached_batch, kept = table_reading.time_rows(found)
    pair = {"ours": 0.001, "torchcodec": 0.004}
    with_torchcodec = replace(found, torchcodec=pair, grey_of_torchcodec=0.7)
    _, torchcodec, *_ = table_reading.time_rows(with_torchcodec)
    assert torchcodec.ratio == pytest.approx(4)
    assert torchcodec.agreement.endswith("0.7")
    assert clip.ratio == pytest.approx(30)
    assert floor.distance == pytest.approx(1.1)
    assert batch.ratio == pytest.approx(17)
    assert cached_batch.ratio == pytest.approx(68)
    assert kept.ratio == pytest.approx(50)
    assert kept.distance == pytest.approx(1.5)


def test_peers_give_the_same_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn")
    monkeypatch.setattr(table_statistics, "RESAMPLES", 6)
    monkeypatch.setattr(table_statistics, "LOOPED", 6)
    monkeypatch.setattr(table_statistics, "PATIENTS", 80)
    for row in table_statistics.rows():
        if "largest difference" in row.agreement:
            assert float(row.agreement.split()[-1]) < 1e-6, row


def test_others_are_loaded_from_the_checkouts_that_variables_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in (peers.TORCHGEO_BENCH, peers.CARDIOBENCH, peers.EVA):
        monkeypatch.delenv(variable, raising=False)
    assert table_loops.loops() == {}
    utils = tmp_path / "src" / "torchgeo_bench" / "utils.py"
    utils.parent.mkdir(parents=True)
    utils.write_text(
        "import numpy as np\n"
        "def extract_features(model, loader, device, verbose):\n"
        "    parts = [model(batch['image']) for batch in loader]\n"
        "    return np.concatenate([part.detach().numpy() for part in parts]), None\n"
    )
    monkeypatch.setenv(peers.TORCHGEO_BENCH, str(tmp_path))
    assert list(table_loops.loops()) == ["torchgeo-bench's extract_features"]
    with pytest.raises(FileNotFoundError, match=r"which has no .*linear\.py"):
        peers.torchgeo_bench("linear")


@pytest.mark.slow
def test_loops_of_others_give_the_features_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("FRAMES", 6), ("ROUNDS", 1), ("BATCH", 4)):
        monkeypatch.setattr(table_loops, name, value)
    monkeypatch.setattr(table_features, "FRAMES", 6)
    phantom.write(tmp_path, patients=10, size=32, names=["camus"])
    source = datasets.source("camus", tmp_path / "camus")

    def loop(given: table_loops.Given) -> Array:
        inputs = [table_loops.Pictures(given)[i][0] for i in range(len(given.pictures))]
        with torch.inference_mode():
            return np.asarray(given.network(torch.stack(inputs)).numpy())

    monkeypatch.setattr(table_loops, "loops", lambda: {"a loop": loop})
    rows = list(table_loops.network_rows("random/timm/resnet10t", source, tmp_path))
    assert rows[0].peer_name == "a loop in fp32"
    assert float(rows[0].agreement.split()[-1]) < 1e-4


def test_a_made_board_is_admitted_and_ranked(tmp_path: Path) -> None:
    suite = board.write(tmp_path, 3, board.made_tasks(4), 60)
    ranked = board.measured(tmp_path, suite)
    assert ranked.ranked == 3
    assert ranked.seconds > 0


@pytest.mark.slow
def test_frames_are_timed_from_files_to_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("FRAMES", 6), ("BATCH", 4), ("ROUNDS", 1), ("NAMED", ("fp32", "nothing"))):
        monkeypatch.setattr(table_features, name, value)
    monkeypatch.setattr(table_features, "resolve_precision", lambda *_: "fp32")
    phantom.write(tmp_path, patients=10, size=32, names=["camus"])
    source = datasets.source("camus", tmp_path / "camus")
    monkeypatch.setenv(table_features.TIMM, str(tmp_path / "peer"))
    peer = tmp_path / "peer" / "validate.py"
    peer.parent.mkdir()
    peer.write_text("print('Time: 0.5s (0.5s,   12.00/s)')")
    lines = table_features.network_rows("small", "random/timm/resnet10t", source)
    whole, processor, pooled, _, alone, timm = lines
    assert whole.ours > 0
    assert whole.task.endswith("with maps")
    assert pooled.task.endswith("pooled features alone")
    assert pooled.peer == whole.peer
    assert processor.task.endswith("processor time")
    assert whole.wanted == processor.wanted == table_features.LEAST_SHARE
    assert whole.limit_name.startswith("the network alone in fp32")
    assert alone.ratio == 1
    assert timm.peer == pytest.approx(6 / 12)
    peer.write_text("raise SystemExit('no model')")
    with pytest.raises(ValueError, match="gave no rate: no model"):
        table_features.timm_seconds(peer.parent, "random/timm/resnet10t", source, tmp_path)


def test_what_is_slower_by_construction_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_features, "has_bf16", lambda device: True)
    names = table_features.candidates("bf16")
    assert {"fp32", "bf16", "bf16-openvino", "fp32-onnx"} <= set(names)
    assert "fp32-openvino" not in names
    monkeypatch.setattr(table_features, "has_bf16", lambda device: False)
    names = table_features.candidates("fp32")
    assert "fp32-openvino" in names
    assert not any(name.startswith("bf16") for name in names)


@pytest.mark.slow
def test_heart_sounds_are_searched_as_in_plain_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_sounds, "RECORDINGS", 2)
    monkeypatch.setattr(table_sounds, "_ROUNDS", 1)
    search, whole = table_sounds.rows()
    assert search.agreement == "the same states"
    assert whole.ours > (whole.limit or 0)
