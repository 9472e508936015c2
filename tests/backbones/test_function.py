"""A Python function as a backbone: what it receives, what it may return, and where it takes part."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import etab
from etab import backbones
from etab.backbones.own.trial import trial_rows
from etab.backbones.sound.parts import covering_starts, joined_course, recording_starts
from etab.errors import EtabError, UndefinedError, UnsupportedOptionError
from etab.runs.run import plan
from etab.testing.backbones import check_backbone
from etab.types import Features


def layers_at_two_scales(x: Any) -> dict[str, Any]:
    pool = torch.nn.functional.avg_pool2d
    edges = (x[..., 1:, :] - x[..., :-1, :]).abs()
    padded = torch.nn.functional.pad(edges, (0, 0, 0, 1))
    both = torch.cat([x[:, :1], padded[:, :1]], 1)
    return {"coarse": pool(both, 16), "fine": pool(both, 8), "level": both.mean((2, 3))}


def frame_levels(x: Any) -> Any:
    """(n, t, 3, s, s) to (n, t, 2)."""
    return torch.stack([x.mean((2, 3, 4)), x.std((2, 3, 4))], -1)


def loudness(x: Any) -> dict[str, Any]:
    """(n, samples) to 100 steps of two channels, and a vector."""
    steps = x.reshape(len(x), 100, -1)
    return {
        "steps": torch.stack([steps.abs().mean(2), steps.std(2)], -1),
        "all": torch.stack([x.abs().mean(1), x.abs().amax(1)], 1),
    }


@pytest.fixture(scope="module")
def echo(phantom_tree: Callable[..., Path]) -> Path:
    return phantom_tree(["camus"]) / "camus"


def test_a_function_with_maps_takes_part_in_segmentation(echo: Path) -> None:
    card = etab.backbone(layers_at_two_scales, name="scales", input=etab.Frames(size=64))
    assert card.layers == ("coarse", "fine", "level")
    assert card.strides == (8, 16)
    check_backbone(card)
    score = etab.evaluate(card, tasks=["a0-A4-C", "b0-A4-C"], root=echo, protocol="cv3")
    assert {row["task"] for row in score.tasks} == {"a0-A4-C", "b0-A4-C"}


@pytest.mark.slow
def test_a_clip_function_runs(phantom_tree: Callable[..., Path]) -> None:
    root = phantom_tree(["echonet"]) / "echonet"
    seen: list[tuple[int, ...]] = []

    def encoder(x: Any) -> Any:
        seen.append(tuple(x.shape))
        return frame_levels(x)

    card = etab.backbone(
        encoder, name="levels", version="1", input=etab.Clip(frames=4, size=32, fps=10)
    )
    check_backbone(card)
    score = etab.evaluate(card, tasks="b6-A4-E", root=root, protocol="cv3")
    assert score.tasks[0]["task"] == "b6-A4-E"
    assert {shape[1:] for shape in seen} == {(4, 3, 32, 32)}


def test_a_sound_function_takes_part_in_states(phantom_tree: Callable[..., Path]) -> None:
    root = phantom_tree(["circor"]) / "circor"
    card = etab.backbone(loudness, name="loud", input=etab.Sound(rate=2000, seconds=2))
    assert card.timed == ("steps",)
    assert card.over_time
    check_backbone(card)
    cells = plan("e0", [card], protocols=("cv3",))
    assert cells
    score = etab.evaluate(card, tasks="e0", root=root, protocol="cv3")
    assert np.isfinite(score.value)


@pytest.mark.parametrize("array", ["torch", "numpy"])
def test_frames_are_what_is_documented(array: Any) -> None:
    seen: list[Any] = []

    def remember(x: Any) -> Any:
        seen.append(x)
        return x.reshape(len(x), -1)[:, :5]

    kind = etab.Frames(size=8, mean=(0.5, 0.4, 0.3), std=(0.2, 0.1, 0.5), array=array)
    backbone = etab.backbone(remember, name="f", version="1", input=kind).load()
    x = torch.arange(128, dtype=torch.uint8).reshape(2, 8, 8)
    backbone(x)
    got = np.asarray(seen[-1])
    assert isinstance(seen[-1], np.ndarray if array == "numpy" else torch.Tensor)
    assert got.dtype == np.float32
    for channel, (mean, std) in enumerate(zip(kind.mean, kind.std, strict=True)):
        wanted = (x.numpy() / 255 - mean) / std
        np.testing.assert_allclose(got[:, channel], wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("layout", "shape"), [("TCHW", (2, 3, 3, 8, 8)), ("CTHW", (2, 3, 3, 8, 8))]
)
def test_clips_are_what_is_documented(layout: Any, shape: tuple[int, ...]) -> None:
    seen: list[Any] = []

    def remember(x: Any) -> Any:
        seen.append(x)
        return x.flatten(1)[:, :4]

    kind = etab.Clip(frames=3, size=8, layout=layout)
    backbone: Any = etab.backbone(remember, name="c", version="1", input=kind).load()
    frames = torch.arange(3, dtype=torch.uint8)[None, :, None, None].expand(2, 3, 8, 8) * 50
    backbone(frames.contiguous(), torch.ones(2, 3, dtype=torch.bool))
    got = seen[-1]
    assert tuple(got.shape) == shape
    over_time = got[0, :, 0, 0, 0] if layout == "TCHW" else got[0, 0, :, 0, 0]
    np.testing.assert_allclose(over_time, np.array([0, 50, 100]) / 255, atol=1e-6)


def test_parts_of_sound_are_what_is_documented() -> None:
    seen: list[Any] = []

    def remember(x: Any) -> Any:
        seen.append(x.clone())
        return x[:, :3] + 0.0

    kind = etab.Sound(rate=100, seconds=2)
    backbone = etab.backbone(remember, name="s", version="1", input=kind).load()
    ramp = torch.arange(500, dtype=torch.float32)[None]
    features = backbone(ramp)
    assert tuple(seen[-1].shape) == (3, 200)
    assert seen[-1][:, 0].tolist() == [0, 150, 300]
    assert features.pooled["out/vector"][0, 0] == 150
    backbone(ramp[:, :50])
    assert seen[-1][0, :4].tolist() == [0, 1, 2, 3]
    assert seen[-1][0, 50].item() == 0


@pytest.mark.parametrize("seconds", [0.4, 2.0, 7.3, 11.0])
def test_steps_of_a_recording_have_their_true_times(seconds: float) -> None:
    """Each step is the mean time of its samples, so that the course must be a straight line."""

    def moments(x: Any) -> Any:
        return x.reshape(len(x), 40, -1).mean(2, keepdim=True)

    kind = etab.Sound(rate=1000, seconds=2)
    backbone: Any = etab.backbone(moments, name="t", version="1", input=kind).load()
    times = torch.arange(round(1000 * seconds), dtype=torch.float32) / 1000
    course = backbone.course(times)["out"]
    assert course.hop == pytest.approx(0.05)
    centres = course.first + course.hop * np.arange(len(course.values))
    assert len(course.values) == pytest.approx(seconds / 0.05, abs=1)
    np.testing.assert_allclose(course.values[:-1, 0], centres[:-1], atol=1e-3)


def test_parts_cover_every_sample() -> None:
    for samples in (1, 99, 100, 101, 333):
        starts = covering_starts(samples, 100)
        assert starts[0] == 0
        assert max(starts[-1] + 100, samples) == max(samples, 100)
        assert (np.diff(starts) <= 100).all()
        starts = recording_starts(samples, 100)
        assert starts[-1] + 100 >= samples


def test_steps_after_the_end_of_a_part_are_padding() -> None:
    steps = np.arange(12, dtype=np.float32).reshape(1, 12, 1)
    course = joined_course(steps, np.zeros(1), 1.0, 0.1, 0.05, 1.0)
    assert course.values[:, 0].tolist() == pytest.approx(list(range(10)))


def rows(x: Any, d: int = 3) -> Any:
    return x.reshape(len(x), -1)[:, :d]


BAD: dict[str, tuple[Any, str]] = {
    "first dimension": (lambda x: rows(x)[:1], r"returned 1 rows \(shape \(1, 3\)\) for 3 frames"),
    "one axis": (lambda x: rows(x)[:, 0], r"shape \(3,\) for 3 frames; wanted vectors \(3, d\)"),
    "three axes": (lambda x: rows(x)[:, None], r"shape \(3, 1, 3\).*maps \(3, c, h, w\)"),
    "list": (lambda x: [rows(x), rows(x)], "returned list; wanted a torch tensor"),
    "nothing": (lambda x: None, "returned NoneType"),
    "text": (lambda x: np.array([["a"], ["b"]]), "returned ndarray of <U1"),
    "complex": (lambda x: rows(x).to(torch.complex64), "torch.complex64"),
    "empty dict": (lambda x: {}, "empty dict"),
    "layer name": (lambda x: {"a/b": rows(x)}, "layer called 'a/b'"),
    "sparse": (lambda x: rows(x).to_sparse(), "with the layout torch.sparse"),
    "meta": (lambda x: rows(x).to("meta"), "on the device .meta., which holds no values"),
    "masked": (lambda x: np.ma.masked_array(rows(x).numpy(), mask=True), "a masked array; wanted"),
    "eight bits": (
        lambda x: torch._empty_affine_quantized((len(x), 3), scale=1.0, dtype=torch.qint8),
        "torch.qint8",
    ),
    "no width": (lambda x: rows(x, 0), r"shape \(3, 0\)"),
    "an error inside": (lambda x: x.nothing, "AttributeError: .*'nothing'"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_output_is_refused_at_once(case: str) -> None:
    function, match = BAD[case]
    with pytest.raises(UnsupportedOptionError, match=match):
        etab.backbone(function, name="bad", input=etab.Frames(size=16))


def test_values_that_are_not_finite_are_refused() -> None:
    with pytest.raises(UndefinedError, match="NaN or infinity"):
        etab.backbone(lambda x: rows(x) / 0, name="bad", input=etab.Frames(size=16))


def test_widths_that_differ_between_batches_are_refused() -> None:
    def width_of_level(x: Any) -> Any:
        return rows(x, 3 if float(x.mean()) > 0.1 else 2)

    card = etab.backbone(width_of_level, name="w", version="1", input=etab.Frames(size=16))
    backbone = card.load()
    backbone(torch.full((2, 16, 16), 200, dtype=torch.uint8))
    with pytest.raises(UnsupportedOptionError, match=r"\(3,\).* in the first one.*\(2,\)"):
        backbone(torch.zeros((2, 16, 16), dtype=torch.uint8))


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: etab.Frames(size=0), r"Frames\(size=\) is 0"),
        (lambda: etab.Frames(size=100_000), r"a row of Frames is 30000000000; wanted at most"),
        (lambda: etab.Clip(frames=10**9), r"a row of Clip is .*; wanted at most 67,108,864"),
        (lambda: etab.Sound(seconds=1e300), r"a row of Sound is .*; wanted at most 67,108,864"),
        (lambda: etab.Frames(mean=(0.5,)), r"three numbers"),  # type: ignore[arg-type]
        (lambda: etab.Frames(mean=(float("nan"), 0, 0)), r"mean=\) is nan; wanted a finite"),
        (lambda: etab.Frames(mean=("0", 0, 0)), r"mean=\) is '0'"),  # type: ignore[arg-type]
        (lambda: etab.Frames(std=(0, 1, 1)), r"std=\) is 0; wanted a number above 0"),
        (lambda: etab.Clip(layout="THWC"), r"'TCHW' or 'CTHW'"),  # type: ignore[arg-type]
        (lambda: etab.Clip(fps=-1), r"fps=\) is -1"),
        (lambda: etab.Clip(fps=10, period=3), r"period=\) is 3; wanted no period beside fps="),
        (lambda: etab.Sound(rate=0), r"rate=\) is 0"),
        (lambda: etab.Sound(seconds=float("nan")), r"seconds=\) is nan"),
        (lambda: etab.Sound(array="jax"), r"'torch' or 'numpy'"),  # type: ignore[arg-type]
        (lambda: etab.backbone(rows, input="frames"), r"wanted etab.Frames"),  # type: ignore[arg-type]
        (lambda: etab.backbone(3, name="n"), r"n is int, which cannot be called"),  # type: ignore[arg-type]
    ],
)
def test_an_input_that_cannot_be_is_refused(make: Any, match: str) -> None:
    with pytest.raises(UnsupportedOptionError, match=match):
        make()


def test_a_clip_of_a_rate_needs_the_rate_of_the_recording() -> None:
    contract = etab.Clip(frames=4, fps=20).contract
    assert contract.numbers(100, 0, 50.0)[0].tolist() == [0, 2, 5, 8]
    with pytest.raises(UnsupportedOptionError, match="does not list its frame rate"):
        contract.numbers(100, 0)


def test_functions_are_told_apart_by_content_version_and_input() -> None:
    def digest(function: Any, **more: Any) -> str:
        return etab.backbone(function, name="same", **more).load().digest()

    small = etab.Frames(size=16)
    one, two = (torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(768, 3)) for _ in range(2))
    digests = [
        digest(one, input=small),
        digest(two, input=small),
        digest(one, input=etab.Frames(size=16, mean=(0.5, 0.5, 0.5))),
        digest(rows, input=small),
        digest(rows, input=small, version="1"),
        digest(rows, input=small, version="2"),
    ]
    assert len(set(digests)) == len(digests)
    assert digest(one, input=small) == digests[0]


def test_data_of_the_pretraining_are_on_the_card() -> None:
    small = etab.Frames(size=16)
    assert etab.backbone(rows, name="r", input=small).pretraining_sets == ("unknown",)
    card = etab.backbone(rows, name="r", input=small, pretrained_on=["camus", "echonet"])
    assert card.pretraining_sets == ("camus", "echonet")


def test_a_torch_module_is_put_into_eval_mode() -> None:
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(0.5))
    check_backbone(etab.backbone(net, name="drop", input=etab.Frames(size=16)))
    assert not net.training


def mixed_rows(x: Any) -> Any:
    return rows(x) - rows(x).mean(0)


def batch_norm(x: Any) -> Any:
    return torch.nn.functional.batch_norm(rows(x), None, None, training=True)


def dropped(x: Any) -> Any:
    return torch.nn.functional.dropout(rows(x, 9), 0.5)


def random_rows(x: Any) -> Any:
    return torch.rand(len(x), 4)


def counted() -> Callable[[Any], Any]:
    calls: list[int] = []

    def function(x: Any) -> Any:
        calls.append(1)
        return rows(x) + len(calls)

    return function


@pytest.mark.parametrize(
    "function", [mixed_rows, batch_norm, dropped, random_rows, counted()], ids=lambda f: f.__name__
)
def test_a_function_whose_rows_depend_on_more_than_themselves_is_refused(function: Any) -> None:
    with pytest.raises(UnsupportedOptionError, match=r"eval mode \(network\.eval\(\)\)"):
        etab.backbone(function, name="mixed", version="1", input=etab.Frames(size=16))


KINDS = {
    "frames": etab.Frames(size=16),
    "clips": etab.Clip(frames=3, size=8),
    "sound": etab.Sound(rate=100, seconds=3),
}


def level(x: Any) -> Any:
    """Root mean square of the three thirds of each row."""
    return (x.reshape(len(x), 3, -1) ** 2).mean(2).sqrt()


MIXED: dict[str, Callable[[Any], Any]] = {
    "turned": lambda x: level(x).flip(0),
    "rolled": lambda x: level(x).roll(1, 0),
    "rolled back": lambda x: level(x).roll(-1, 0),
    "last two exchanged": lambda x: level(torch.cat([x[:1], x[1:].flip(0)])),
    "even rows first": lambda x: torch.cat([level(x)[::2], level(x)[1::2]]),
    "sorted": lambda x: level(x).sort(0).values,
    "sorted downwards": lambda x: level(x).sort(0, descending=True).values,
    "sorted by spread": lambda x: level(x)[x.flatten(1).std(1).argsort()],
    "sorted by mean": lambda x: level(x)[x.flatten(1).mean(1).argsort(descending=True)],
    "turned beside a large constant": lambda x: torch.cat(
        [1e2 + 0 * x.flatten(1), level(x)], 1
    ).flip(0),
    "turned on a large level": lambda x: 50 + level(x).flip(0),
    "turned after normalisation": lambda x: level(unit_rows(x)).flip(0),
    "first row for all": lambda x: level(x)[:1].expand(len(x), -1),
    "without the mean row": lambda x: x.flatten(1) - x.flatten(1).mean(0),
    "without the mean": lambda x: level(x) - x.mean(),
    "over the largest": lambda x: level(x / x.max()),
    "over the spread": lambda x: level(x / x.std()),
    "with a little of the others": lambda x: level(x) + 0.2 * level(x).mean(0),
    "ranks": lambda x: level(x).argsort(0).argsort(0) + 1.0,
    "softmax over rows": lambda x: level(x).softmax(0),
}


def unit_rows(x: Any) -> Any:
    """Rows of differences of neighbours, with a spread of 1."""
    edges = x.flatten(1).diff(dim=1)[:, :-1]
    edges = edges[:, : edges.shape[1] // 3 * 3]
    return edges.sign() * edges.abs().sqrt() / edges.std(1, keepdim=True)


@pytest.mark.parametrize("case", MIXED)
@pytest.mark.parametrize("kind", KINDS)
def test_a_function_that_reorders_or_mixes_rows_is_refused(kind: str, case: str) -> None:
    with pytest.raises(UnsupportedOptionError, match="the same row in a batch of 3"):
        etab.backbone(MIXED[case], name="mixed", input=KINDS[kind])


def test_rows_in_another_order_are_named() -> None:
    with pytest.raises(
        UnsupportedOptionError, match="Row 0 of the batch holds the values of row 2"
    ):
        etab.backbone(MIXED["turned"], name="turned", input=KINDS["frames"])


def test_a_function_of_the_first_release_that_reorders_rows_is_refused() -> None:
    card = backbones.from_callable("turned", lambda x: x.mean((2, 3)).flip(0), size=32)
    with pytest.raises(UnsupportedOptionError, match="holds the values of row 2"):
        card.load()(torch.zeros(1, 32, 32, dtype=torch.uint8))


class Turned(torch.nn.Module):
    """A backbone of the levels of each frame, which may turn the order of the frames."""

    def __init__(self, is_turned: bool) -> None:
        super().__init__()
        self.is_turned = is_turned

    def to(self, device: str, precision: str) -> Turned:  # type: ignore[override]
        return self

    def digest(self) -> str:
        return "0" * 64

    def forward(self, x: Any) -> Features:
        means = x.float().reshape(len(x), 4, -1).mean(2) / 255
        return Features({"out/vector": means.flip(0) if self.is_turned else means})


def test_the_check_of_a_backbone_finds_other_orders_too() -> None:
    card = backbones.BackboneCard(
        "turned", "Turned", lambda: Turned(True), size=32, layers=("out",), source="callable"
    )
    with pytest.raises(AssertionError, match="from other rows of the batch"):
        check_backbone(card)
    check_backbone(replace(card, load=lambda: Turned(False)))


def batch_norm_at_rest(kind: str) -> torch.nn.Module:
    width = trial_rows(KINDS[kind])[0].numel() * (1 if kind == "sound" else 3)
    return torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.BatchNorm1d(width), torch.nn.Linear(width, 8)
    ).eval()


HONEST: dict[str, Callable[[str], Any]] = {
    "batch norm at rest": batch_norm_at_rest,
    "half precision": lambda kind: batch_norm_at_rest(kind).bfloat16(),
    "constant": lambda _: lambda x: torch.ones(len(x), 4),
    "constant in half precision": lambda _: lambda x: (0 * level(x) + 3.3).bfloat16(),
    "large level in half precision": lambda _: lambda x: (100 + level(x)).bfloat16().float(),
    "norm of a row": lambda _: lambda x: x.flatten(1) / x.flatten(1).norm(dim=1, keepdim=True),
    "whole numbers": lambda _: lambda x: (10 * level(x)).round().int(),
}


@pytest.mark.parametrize("case", HONEST)
@pytest.mark.parametrize("kind", KINDS)
def test_a_function_of_each_row_alone_is_taken(kind: str, case: str) -> None:
    function = HONEST[case](kind)
    dtype = next((p.dtype for p in getattr(function, "parameters", list)()), torch.float32)
    card = etab.backbone(
        lambda x: function(x.to(dtype)), name="honest", version="1", input=KINDS[kind]
    )
    assert card.layers == ("out",)


@pytest.mark.parametrize("kind", KINDS)
def test_no_order_of_the_rows_of_the_trial_is_a_rising_or_falling_one(kind: str) -> None:
    rows_of_trial = trial_rows(KINDS[kind]).float().flatten(1)
    assert rows_of_trial.isfinite().all()
    for measure in (rows_of_trial.mean(1), rows_of_trial.std(1), rows_of_trial.amax(1)):
        steps = measure.diff()
        assert steps[0] > 0 > steps[1]
        assert measure[2] < measure[0] - 0.05 * measure.abs().max()


def test_rounding_of_half_precision_is_no_other_value() -> None:
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(768, 64)).bfloat16()
    card = etab.backbone(lambda x: net(x.bfloat16()), name="half", input=etab.Frames(size=16))
    assert card.layers == ("out",)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"name": "mobilenetv2"}, "name of another backbone"),
        ({"name": "random/pixel_pca"}, "name of another backbone"),
        ({"name": "timm/resnet18"}, "name of another backbone"),
        ({"name": "vectors:mine.npz"}, "name of another backbone"),
        ({"name": " mine "}, "wanted 1 to 80 of the characters.*single spaces between words"),
        ({"name": "two  spaces"}, "wanted 1 to 80 of the characters"),
        ({"name": "<script>"}, "wanted 1 to 80 of the characters"),
        ({"name": "a\nb"}, "wanted 1 to 80 of the characters"),
        ({"name": "a,b"}, "wanted 1 to 80 of the characters"),
        ({"name": "../mine"}, "no part of it may be"),
        ({"name": "x" * 81}, "wanted 1 to 80"),
        ({"name": 3}, "3, int; wanted a string"),
        ({"name": None}, "None, NoneType; wanted a string"),
        ({"version": 3}, "version is 3; wanted a string"),
        ({"pretrained_on": "camus"}, r"wanted a list: \['camus'\]"),
    ],
)
def test_a_name_that_cannot_stand_on_a_board_is_refused(change: Any, match: str) -> None:
    words = {"name": "mine", "input": etab.Frames(size=16), **change}
    with pytest.raises(UnsupportedOptionError, match=match):
        etab.backbone(rows, **words)


@pytest.mark.parametrize("name", ["my encoder", "random/my encoder", "net:v2", "a/b+c@64"])
def test_a_name_that_a_board_can_show_is_taken(name: str) -> None:
    assert etab.backbone(rows, name=name, input=etab.Frames(size=16)).name == name


def test_the_random_twin_of_an_own_backbone_has_a_name() -> None:
    assert etab.backbone(rows, name="random/mine", input=etab.Frames(size=16)).name == "random/mine"


def test_evaluate_refuses_the_name_of_another_backbone(echo: Path) -> None:
    with pytest.raises(UnsupportedOptionError, match="name of another backbone"):
        etab.evaluate(rows, name="mobilenetv2", tasks="c0", root=echo)


def test_a_class_is_no_function() -> None:
    with pytest.raises(UnsupportedOptionError, match=r"the class Linear itself; pass an object"):
        etab.backbone(torch.nn.Linear, input=etab.Frames(size=16))


def test_any_kind_of_number_becomes_float32() -> None:
    for dtype in ("float16", "float64", "longdouble", "int64", "uint8", "bool"):
        card = etab.backbone(
            lambda x, dtype=dtype: rows(x).numpy().astype(dtype),
            name="numbers",
            version=dtype,
            input=etab.Frames(size=16),
        )
        assert card.layers == ("out",)


def test_the_error_of_a_function_is_told_in_a_line() -> None:
    def long_error(x: Any) -> Any:
        raise RuntimeError("first line " * 50 + "\nsecond line")

    with pytest.raises(UnsupportedOptionError, match="RuntimeError: first line") as caught:
        etab.backbone(long_error, name="long", input=etab.Frames(size=16))
    assert len(str(caught.value)) < 700
    assert "second line" not in str(caught.value)


def test_a_failing_function_stops_the_evaluation(echo: Path) -> None:
    calls: list[int] = []

    def fails_later(x: Any) -> Any:
        calls.append(1)
        if len(calls) > 4:
            raise ValueError("out of luck")
        return rows(x)

    card = etab.backbone(fails_later, name="late", version="1", input=etab.Frames(size=32))
    with pytest.raises(EtabError, match="ValueError: out of luck"):
        etab.evaluate(card, tasks="b0-A4-C", root=echo, protocol="cv3")


def test_the_names_are_imported_when_used() -> None:
    code = "import etab, sys; etab.Frames; etab.Sound(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("device", ["gpu0", "cuda:99", 7])
def test_a_device_that_is_not_there_is_refused(device: Any) -> None:
    with pytest.raises(UnsupportedOptionError, match=f"device '{device}': "):
        etab.backbone(rows, name="mine", input=etab.Frames(size=16), device=device)


def test_the_check_of_a_backbone_needs_a_card() -> None:
    with pytest.raises(UnsupportedOptionError, match=r"given function; wanted a card"):
        check_backbone(rows)  # type: ignore[arg-type]


def test_tokens_of_frames_are_a_map_and_a_class_token() -> None:
    def tokens(x: Any) -> Any:
        cells = torch.nn.functional.avg_pool2d(x, 8).flatten(2).transpose(1, 2)
        return torch.cat([x.amax((2, 3))[:, None], cells], 1)

    card = etab.backbone(tokens, name="tokens", input=etab.Frames(size=32))
    assert card.strides == (8,)
    check_backbone(card)
    x = torch.randint(0, 255, (2, 32, 32), dtype=torch.uint8)
    features = card.load()(x)
    torch.testing.assert_close(features.pooled["out/cls"][:, 0], x.amax((1, 2)) / 255)
    assert features.maps[0].shape == (2, 3, 4, 4)
    with pytest.raises(
        UnsupportedOptionError, match=r"returned 12 tokens .*not a square grid over 32"
    ):
        etab.backbone(lambda x: tokens(x)[:, :12], name="few", input=etab.Frames(size=32))
