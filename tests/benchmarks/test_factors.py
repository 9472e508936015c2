"""The tables of input sizes, fits and heads: levels, ranks, and cells that are absent."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from benchmarks import factors
from etab import backbones
from etab.heads import HEADS
from etab.results import Result
from etab.tasks.menu import TASKS

RESULTS = Path(factors.__file__).parent / "results" / "camus" / "b0-A4-C" / "mobilenetv2"


def made(backbone: str, value: float, **changes: str) -> Result:
    result = Result.load(RESULTS / "cv5x5-stack-s0.json")
    return replace(result, backbone=backbone, value=value, low=value - 1, high=value + 1, **changes)


def test_every_cell_of_a_factor_can_be_named() -> None:
    for factor in factors.FACTORS.values():
        assert all(backbones.card(name) for name in factor.backbones)
        assert set(factor.tasks) <= set(TASKS)
        assert set(factor.heads) <= set(HEADS)


def test_a_table_of_sizes_ranks_within_each_size() -> None:
    results = [
        made("mobilenetv2@112", 7.0),
        made("mobilenetv2", 8.0),
        made("image_stats@112", 7.5),
        made("image_stats", 7.5),
        made("image_stats@320", 7.5),
        made("image_stats@448", 1.0, protocol="official"),
    ]
    text = factors.table(factors.FACTORS["sizes"], results)
    lines = text.splitlines()
    assert lines[0] == "| task | backbone | px 112 | px 224 | px 320 |"
    assert lines[2] == (
        "| b0-A4-C | image_stats | 7.500 (6.500 to 8.500), 2 | 7.500 (6.500 to 8.500), 1 "
        "| 7.500 (6.500 to 8.500) |"
    )
    assert lines[3].endswith("| 7.000 (6.000 to 8.000), 1 | 8.000 (7.000 to 9.000), 2 |  |")


def test_a_table_of_heads_and_of_fits() -> None:
    heads = [
        made("mobilenetv2", 7.0, protocol="cv5", head=head) for head in ("stack", "attentive_1")
    ]
    assert "| head stack | head attentive_1 |" in factors.table(factors.FACTORS["heads"], heads)
    fits = [made(f"image_stats{fit}", 7.0, protocol="cv5") for fit in ("", "@224+letterbox")]
    assert "| fit squash | fit letterbox |" in factors.table(factors.FACTORS["fits"], fits)


def test_the_command_names_what_is_run() -> None:
    words = factors.command(factors.FACTORS["heads"], Path("camus"), Path("out"))
    assert words[words.index("--head") + 1] == "stack,attentive_1,attentive_4"
    assert words[words.index("--protocol") + 1] == "cv5"
