"""Functions that go wrong in ways of their own: told as what they are, or taken as they are meant."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import etab
from etab import backbones
from etab.errors import EtabError, UndefinedError, UnsupportedOptionError
from etab.features.batches import Batches
from etab.types import Features

KINDS = {
    "frames": etab.Frames(size=16),
    "clips": etab.Clip(frames=3, size=8),
    "sound": etab.Sound(rate=100, seconds=3),
    "arrays of frames": etab.Frames(size=16, array="numpy"),
    "arrays of clips": etab.Clip(frames=3, size=8, array="numpy"),
    "arrays of sound": etab.Sound(rate=100, seconds=3, array="numpy"),
}


def level(x: Any) -> Any:
    """Root mean square of the three thirds of each row, in the form of the input."""
    squares = x.reshape(len(x), 3, -1) ** 2
    return squares.mean(2) ** 0.5


def tensor(x: Any) -> torch.Tensor:
    return torch.as_tensor(level(x), dtype=torch.float32)


class OneBuffer:
    """A function that fills the same array in every call, and returns a view of it."""

    def __init__(self) -> None:
        self.out = torch.zeros(64, 3)

    def __call__(self, x: Any) -> Any:
        self.out[: len(x)] = tensor(x)
        return self.out[: len(x)]


def fills_one_array(x: Any, out: Any = np.zeros((64, 3), np.float32)) -> Any:  # noqa: B008
    out[: len(x)] = tensor(x).numpy()
    return out[: len(x)]


def edits_its_input(x: Any) -> Any:
    x *= 2
    x += 1
    return level(x)


TAKEN: dict[str, Callable[[Any], Any]] = {
    "one buffer": OneBuffer(),
    "one array": fills_one_array,
    "edited input": edits_its_input,
    "half precision": lambda x: tensor(x).half(),
    "eight bits": lambda x: tensor(x).to(torch.float8_e4m3fn),
    "big-endian": lambda x: tensor(x).numpy().astype(">f8"),
    "turned strides": lambda x: tensor(x).numpy()[:, ::-1],
    "a parameter": lambda x: torch.nn.Parameter(tensor(x)),
    "an ordered form": lambda x: torch.return_types.max((tensor(x), tensor(x).int())).values,
}


@pytest.mark.parametrize("case", TAKEN)
@pytest.mark.parametrize("kind", KINDS)
def test_what_a_function_means_is_taken(kind: str, case: str) -> None:
    card = etab.backbone(TAKEN[case], name="meant", version="1", input=KINDS[kind])
    assert card.layers == ("out",)


@pytest.mark.parametrize("function", [OneBuffer(), fills_one_array])
def test_a_function_that_fills_one_array_gives_every_batch_its_own_values(function: Any) -> None:
    card = etab.backbone(function, name="buffer", version="1", input=etab.Frames(size=16))
    backbone = card.load()
    x = torch.randint(0, 255, (4, 16, 16), dtype=torch.uint8)
    first = backbone(x[:2]).pooled["out/vector"]
    kept = first.clone()
    backbone(x[2:])
    assert torch.equal(first, kept)


def counting(answer: Callable[[Any, int], Any]) -> Callable[[Any], Any]:
    """A function that knows how often it was called."""
    calls = [0]

    def function(x: Any) -> Any:
        calls[0] += 1
        return answer(tensor(x), calls[0])

    return function


REFUSED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "a generator": (lambda x: (row for row in tensor(x)), "returned generator; wanted"),
    "a generator function": (lambda x: (yield tensor(x)), "returned generator; wanted"),
    "a list": (lambda x: [tensor(x)], "returned list; wanted"),
    "a tuple": (lambda x: (tensor(x), tensor(x)), "returned tuple; wanted"),
    "nothing": (lambda x: None, "returned NoneType; wanted"),
    "text": (lambda x: np.array(["a"] * len(x)), "returned ndarray of <U1"),
    "dates": (
        lambda x: np.zeros((len(x), 2), "datetime64[s]"),
        r"returned ndarray of datetime64\[s\]",
    ),
    "objects": (lambda x: tensor(x).numpy().astype(object), "returned ndarray of object"),
    "complex": (lambda x: tensor(x) * 1j, "returned Tensor of torch.complex64"),
    "complex arrays": (lambda x: tensor(x).numpy() * 1j, "returned ndarray of complex64"),
    "nested": (
        lambda x: torch.nested.nested_tensor(list(tensor(x)), layout=torch.jagged),
        "returned NestedTensor with the layout torch.jagged",
    ),
    "sparse": (lambda x: tensor(x).to_sparse(), "with the layout torch.sparse_coo"),
    "another device": (lambda x: tensor(x).to("meta"), "on the device 'meta'"),
    "one number": (lambda x: tensor(x).mean(), r"returned shape \(\)"),
    "a number a row": (lambda x: tensor(x).mean(1), r"returned shape \(3,\)"),
    "squeezed": (lambda x: tensor(x).squeeze(0), r"returned shape \(3,\) for 1"),
    "no width": (lambda x: tensor(x)[:, :0], r"returned shape \(3, 0\)"),
    "rows and columns exchanged": (lambda x: tensor(x)[:, :2].T, r"returned 2 rows"),
    "rows joined": (lambda x: tensor(x).reshape(-1, 1), "returned 9 rows"),
    "all rows in each": (lambda x: tensor(x) @ tensor(x).T, "the shapes of a row differ"),
    "a width of the batch": (lambda x: tensor(x).repeat(1, len(x)), "the shapes of a row differ"),
    "a layer more in batches": (
        lambda x: {"a": tensor(x)} | ({"b": tensor(x)} if len(x) > 1 else {}),
        r"layers of two batches differ: \['a', 'b'\] in the first one, \['a'\]",
    ),
    "layers in another order": (
        lambda x: dict(list({"a": tensor(x), "b": tensor(x)}.items())[:: 1 if len(x) > 1 else -1]),
        r"\['a', 'b'\] in the first one, \['b', 'a'\]",
    ),
    "a layer without a name": (lambda x: {"": tensor(x)}, "a layer called ''"),
    "a number as a name": (lambda x: {0: tensor(x)}, "a layer called 0"),
    "a name of two lines": (lambda x: {"a\nb": tensor(x)}, r"a layer called 'a\\nb'"),
    "a name with a slash": (lambda x: {"a/b": tensor(x)}, "a layer called 'a/b'"),
    "a long name": (
        lambda x: {"a" * 81: tensor(x)},
        "wanted a name of 1 to 80 printable characters",
    ),
    "no layers": (lambda x: {}, "an empty dict"),
    "a dict of dicts": (lambda x: {"a": {"b": tensor(x)}}, "returned dict; wanted"),
    "counted calls": (counting(lambda y, n: y + n), "different values for a row that is alone"),
    "a slow drift": (
        counting(lambda y, n: y * (1 + 0.1 * n)),
        "different values for a row that is alone",
    ),
    "an average of all calls": (
        counting(lambda y, n: y / n),
        "different values for a row that is alone",
    ),
    "random numbers": (
        lambda x: tensor(x) + torch.randn(len(x), 3),
        "different values for a row that is alone",
    ),
    "the same random numbers": (
        lambda x: torch.from_numpy(np.random.default_rng(0).normal(size=(len(x), 3))),
        "different values for a row that is alone",
    ),
    "shuffled rows": (
        lambda x: tensor(x)[torch.arange(len(x)).roll(1)],
        "different values for a row that is alone",
    ),
    "over the batch": (
        lambda x: tensor(x) / tensor(x).amax(0),
        "different values for a row that is alone",
    ),
    "an error of one row": (
        lambda x: tensor(x) if len(x) > 1 else tensor(x)[1],
        "failed with a trial input",
    ),
    "an exit": (lambda x: exit(3), "SystemExit: 3"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_function_is_told_as_what_it_is(kind: str, case: str) -> None:
    function, match = REFUSED[case]
    with pytest.raises(UnsupportedOptionError, match=match):
        etab.backbone(function, name="wrong", version="1", input=KINDS[kind])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e39])
@pytest.mark.parametrize("kind", KINDS)
def test_numbers_that_are_none_are_told_by_their_rows(kind: str, value: float) -> None:
    def broken(x: Any) -> Any:
        rows = tensor(x).double().numpy()
        rows[len(x) // 2] = value
        return rows

    with pytest.raises(UndefinedError, match="NaN or infinity in 1 of 3 rows"):
        etab.backbone(broken, name="broken", version="1", input=KINDS[kind])


def test_half_precision_that_overflows_is_told() -> None:
    with pytest.raises(UndefinedError, match="NaN or infinity in 3 of 3 rows"):
        etab.backbone(lambda x: (tensor(x) * 1e6).half(), input=KINDS["frames"])


@pytest.mark.parametrize(
    ("steps", "hop", "first", "match"),
    [
        (30, 0.1, None, ""),
        (30, None, None, ""),
        (15, 0.2, 0.1, ""),
        (30, 0.1, 0.0, ""),
        (28, 0.1, 0.15, ""),
        (30, 0.2, None, r"30 steps, one every 0\.2 s starting at 0\.1 s, end at 5\.9 s"),
        (30, 0.05, None, r"end at 1\.475 s, but a part lasts 3 s; wanted about 2\.975 s"),
        (15, 0.1, None, r"end at 1\.45 s"),
        (30, 0.1, 1.0, r"end at 3\.9 s"),
    ],
)
def test_steps_whose_times_do_not_span_a_part_are_refused(
    steps: int, hop: float | None, first: float | None, match: str
) -> None:
    def function(x: Any) -> Any:
        return x.reshape(len(x), steps, -1).abs()[:, :, :1]

    samples = 420 if steps == 28 else 300
    kind = etab.Sound(rate=samples // 3, seconds=3, hop=hop, first=first)
    if not match:
        assert etab.backbone(function, name="steps", version="1", input=kind).timed == ("out",)
        return
    with pytest.raises(UnsupportedOptionError, match=match):
        etab.backbone(function, name="steps", version="1", input=kind)


@pytest.fixture(scope="module")
def echo(phantom_tree: Callable[..., Path]) -> Path:
    return phantom_tree(["camus"], patients=12) / "camus"


LATER: dict[str, tuple[Callable[[Any, int], Any], str]] = {
    "another width": (lambda y, n: y[:, : 3 if n < 6 else 2], "the shapes of a row differ"),
    "other layers": (
        lambda y, n: {"a" if n < 6 else "b": y},
        r"layers of two batches differ: \['a.*'\] in the first one, \['b.*'\]",
    ),
    "a row of nothing": (
        lambda y, n: y if n < 6 else y * torch.tensor([[float("nan")]] + [[1.0]] * (len(y) - 1)),
        "NaN or infinity in 1 of",
    ),
    "a row less": (lambda y, n: y if n < 6 else y[1:], "rows"),
    "a list": (lambda y, n: y if n < 6 else [y], "returned list"),
}


@pytest.mark.parametrize("case", LATER)
def test_a_function_that_goes_wrong_in_a_run_ends_its_cell_with_the_reason(
    echo: Path, case: str
) -> None:
    answer, match = LATER[case]
    card = etab.backbone(counting(answer), name="later", version="1", input=etab.Frames(size=32))
    with pytest.raises(EtabError, match=match):
        etab.evaluate(card, tasks="b0-A4-C", root=echo, protocol="cv2")


@pytest.mark.parametrize(
    "case", ["another width", "other layers", "a row of nothing", "a row less"]
)
def test_a_function_of_the_first_release_that_goes_wrong_in_a_run(echo: Path, case: str) -> None:
    answer, match = LATER[case]
    card = backbones.from_callable("later", counting(answer), size=32, version="1")
    with pytest.raises(EtabError, match=match):
        etab.evaluate(card, tasks="b0-A4-C", root=echo, protocol="cv2")


def test_no_backbone_of_any_author_may_change_what_it_gives() -> None:
    """A row that a later batch does not have would be memory of something else."""
    first = Features({"a": torch.zeros(2, 3)}, (torch.zeros(2, 4, 2, 2),))
    later = [
        Features({"b": torch.zeros(2, 3)}, first.maps),
        Features({"a": torch.zeros(2, 2)}, first.maps),
        Features({"a": torch.zeros(2, 3)}, ()),
        Features({"a": torch.zeros(2, 3)}, (torch.zeros(2, 4, 4, 1),)),
        Features({"a": torch.zeros(2, 3)}, first.maps, sequences={"s": torch.zeros(2, 5, 3)}),
    ]
    for second in later:
        collected = Batches(4, None)
        collected.add(first, maps=True)
        with pytest.raises(UnsupportedOptionError, match="differ in names or shapes"):
            collected.add(second, maps=True)
