"""Attentive probes: their attention, masked tokens, what tokens are, and that they learn on the phantom."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import etab
from etab import heads
from etab.errors import IncompatibleError, UnsupportedOptionError
from etab.features.tokens import MapTokens, row_tokens
from etab.heads.sequences.attentive_network import AttentiveNetwork, QueryAttention
from etab.runs.execute import execute
from etab.runs.run import Run, Settings
from etab.tasks.menu import TASKS
from etab.testing.heads import made_target
from etab.training.loop import Recipe
from etab.types import Array, Features, Kind, RowSplit


def test_the_query_attends_as_an_ordinary_attention() -> None:
    torch.manual_seed(0)
    attention = QueryAttention(64, 2)
    x = torch.randn(3, 5, 64)
    present = torch.ones(3, 5, dtype=torch.bool)
    present[1, 3:] = False
    wanted, _ = torch.nn.functional.multi_head_attention_forward(
        attention.query.expand(1, 3, -1),
        x.transpose(0, 1),
        x.transpose(0, 1),
        64,
        2,
        torch.cat([attention.q.weight, attention.k.weight, attention.v.weight]),
        torch.cat([attention.q.bias, torch.randn(64), attention.v.bias]),
        None,
        None,
        False,
        0.0,
        attention.proj.weight,
        attention.proj.bias,
        key_padding_mask=~present,
    )
    torch.testing.assert_close(attention(x, present), wanted[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("blocks", [1, 4])
def test_tokens_that_do_not_exist_change_nothing(blocks: int) -> None:
    torch.manual_seed(0)
    network = AttentiveNetwork(64, 3, blocks).eval()
    network.standardise(torch.randn(64), torch.rand(64) + 1)
    x = torch.randn(2, 6, 64)
    longer = torch.cat([x, torch.full((2, 4, 64), torch.nan)], dim=1)
    torch.testing.assert_close(network(longer), network(x), rtol=1e-4, atol=1e-5)
    assert len(network.blocks) == blocks - 1


def test_tokens_of_frames_are_the_places_of_the_map() -> None:
    maps = np.arange(3 * 2 * 2 * 2, dtype=np.float16).reshape(3, 2, 2, 2)
    tokens = MapTokens(maps, np.array([[2, 0], [1, -1]]))
    assert (len(tokens), tokens.shape) == (2, (2, 8, 2))
    first = tokens[np.array([0, 1])]
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first[0, 1], maps[2, :, 0, 1])
    np.testing.assert_array_equal(first[0, 6], maps[0, :, 1, 0])
    np.testing.assert_array_equal(first[1, :4].T, maps[1].reshape(2, 4))
    assert np.isnan(first[1, 4:]).all()


def test_tokens_of_a_sound_are_its_windows() -> None:
    values = np.arange(8, dtype=np.float32).reshape(4, 2)
    features = Features({"layer/mean": values, "layer/mean+std": np.zeros((4, 4))})
    rows: Any = SimpleNamespace(frames=np.array([[0, 2], [3, 3]]))
    (tokens,) = row_tokens(TASKS["f1-AL-D"], features, rows).sequences.values()
    assert tokens.shape == (2, 3, 2)
    np.testing.assert_array_equal(tokens[0], values[:3])
    np.testing.assert_array_equal(tokens[1, 0], values[3])
    assert np.isnan(tokens[1, 1:]).all()


def test_features_without_maps_are_refused() -> None:
    rows: Any = SimpleNamespace(frames=np.array([[0]]))
    with pytest.raises(UnsupportedOptionError, match=r"b0-A4-C: .*feature maps.*have none"):
        row_tokens(TASKS["b0-A4-C"], Features({"x": np.zeros((1, 2))}), rows)
    with pytest.raises(IncompatibleError, match="'attentive_1' needs feature maps"):
        Run("b1-A4-C", "torchvision/r3d_18", head="attentive_1").check()


@pytest.mark.parametrize(
    ("harm", "match"),
    [
        ((slice(0, 1), slice(0, 1), slice(0, 1)), "not finite"),
        ((slice(1, 2), slice(None), slice(None)), "Row 1 has no token"),
    ],
)
def test_tokens_that_cannot_be_read_are_named(harm: Any, match: str) -> None:
    tokens = np.zeros((3, 4, 5), dtype=np.float32)
    tokens[harm] = np.nan
    head: Any = heads.head("attentive_1")
    with pytest.raises(UnsupportedOptionError, match=match):
        head.refuse({"x": tokens})
    tokens = np.zeros((3, 4, 5), dtype=np.float32)
    tokens[0, 0] = np.nan
    head.refuse({"x": tokens})
    mean, deviation = head.moments(tokens + np.arange(5), np.arange(3))
    np.testing.assert_allclose(mean, np.arange(5))
    np.testing.assert_allclose(deviation, 0)


def test_it_learns_from_one_place_among_many() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 300)
    tokens = rng.normal(size=(300, 16, 32)).astype(np.float32)
    tokens[:, 5, :8] += 2 * (2 * y[:, None] - 1)
    rows = np.arange(300)
    split = RowSplit(rows[:200], (rows[:200:5],), rows[200:])
    kind: Any = heads.HEADS["attentive_1"]
    head = kind(Recipe(epochs=20, batch=16, patience=20), searched=((3e-3, 1e-2),))
    assert _share_right(head, tokens, y, split) > 0.75


@pytest.mark.slow
def test_it_learns_what_only_attention_can_find() -> None:
    # One token in a row, at any place, is marked and holds the answer. The same channel of the
    # other tokens is noise, so that the mean of the tokens tells next to nothing.
    rng = np.random.default_rng(1)
    rows = np.arange(500)
    y = rng.integers(0, 2, 500)
    tokens = 0.3 * rng.normal(size=(500, 16, 32)).astype(np.float32)
    tokens[:, :, 0] = rng.choice([-1.0, 1.0], (500, 16))
    marked = rng.integers(0, 16, 500)
    tokens[rows, marked, 0] = 2 * y - 1
    tokens[rows, marked, 1:5] += 2
    split = RowSplit(rows[:300], (rows[:300:5],), rows[300:])
    kind: Any = heads.HEADS["attentive_1"]
    head = kind(searched=((3e-3, 1e-2),))
    assert _share_right(head, tokens, y, split) > 0.75


def _share_right(head: Any, tokens: Array, y: Array, split: RowSplit) -> float:
    """Fit a head on tokens, and return the share of right answers among the test rows."""
    (fit,) = head.cross_fit(
        Features({}, sequences={"tokens": tokens}),
        y,
        np.arange(len(y)).astype(str),
        [split],
        made_target(Kind.BINARY),
        rng=np.random.default_rng(0),
    )
    is_right = (fit.predictions > 0.5) == y[split.test]
    return float(is_right.mean())


@pytest.mark.slow
@pytest.mark.parametrize(("name", "code"), [("attentive_1", "b1-A4-C"), ("attentive_4", "b0-AX-C")])
def test_a_cell_of_the_phantom(
    name: str, code: str, phantom_tree: Callable[..., Path], tmp_path: Path, monkeypatch: Any
) -> None:
    kind: Any = heads.HEADS[name]
    recipe = Recipe(epochs=2, batch=8, patience=2)
    monkeypatch.setitem(heads.HEADS._items, name, lambda: kind(recipe, searched=((1e-3, 1e-2),)))
    torch.manual_seed(0)
    network = torch.nn.Conv2d(3, 32, 8, stride=8)
    frames = etab.Frames(size=64, mean=(0.3, 0.3, 0.3), std=(0.3, 0.3, 0.3))
    card = etab.backbone(network, name="convolution", version="1", input=frames)
    settings = Settings(root=phantom_tree(["camus"]) / "camus", results=tmp_path)
    run = Run(code, card.name, protocol="cv", n_fold=3, head=name, card=card)
    (result,) = execute([run], settings)
    assert result.head == name
    assert np.isfinite(result.value)
