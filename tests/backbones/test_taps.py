"""The features of an image network are the outputs of blocks across its depth, the deepest included."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torchvision import models

from etab import backbones
from etab.backbones.base import BackboneCard
from etab.backbones.image import taps as tapping
from etab.backbones.image.open import wrap_module
from etab.errors import UnsupportedOptionError

pytestmark = pytest.mark.filterwarnings("ignore:The default weight init:FutureWarning")
# One network of each family; the others are variants.
SMALL = [
    "alexnet",
    "convnext_tiny",
    "densenet121",
    "efficientnet_b0",
    "googlenet",
    "inception_v3",
    "mnasnet0_5",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "resnet18",
    "shufflenet_v2_x0_5",
    "squeezenet1_0",
    "swin_t",
    "vgg11_bn",
    "vit_b_32",
]
# Of 645 million parameters, and built like regnet_y_32gf.
LARGEST = "regnet_y_128gf"
OTHERS = [name for name in models.list_models(module=models) if name not in (*SMALL, LARGEST)]
PLAIN = ("alexnet", "vgg")  # their deepest stages differ by a pooling only


def depths(name: str) -> tuple[list[set[str]], torch.nn.Module, list[str]]:
    """The parameters that each tap depends on, the network, and the layers that no tap depends on."""
    device = "cpu" if name.startswith("regnet") else "meta"  # RegNet cannot be built without data
    with torch.device(device):
        network = models.get_model(name, weights=None).eval()
    stages = tapping.deepest(tapping.stages_of(network, 224))
    taps = tapping.stage_taps(network, stages, tapping.layer_names(stages))
    rows = taps(torch.zeros(1, 3, 224, 224, device=device))
    for stage, (_, grid, _) in zip(stages, rows, strict=True):
        assert grid.shape[1] == stage.channels
        assert grid.shape[2] == grid.shape[3]
        assert 224 // grid.shape[2] == stage.stride
    left_out = tapping.unused_layers(network, taps, 224)
    network.requires_grad_(True)
    rows = taps(torch.zeros(1, 3, 224, 224, device=device))
    return [tapping.reached(grid, network) for _, grid, _ in rows], network, left_out


def check_depth(name: str) -> None:
    reached, network, left_out = depths(name)
    assert len(reached) == 3
    assert left_out == []
    assert reached[0] < reached[1] <= reached[2]
    assert reached[1] < reached[2] or name.startswith(PLAIN)
    body = [n for n, p in network.named_parameters() if p.ndim > 1 and n in reached[2]]
    share = len([n for n in body if n in reached[0]]) / len(body)
    assert 0.08 < share < 0.9, f"the first tap of {name} lies at {share:.0%} of the depth"


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_torchvision_is_tapped_across_its_depth(name: str) -> None:
    check_depth(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_the_rest_of_torchvision_is_tapped_across_its_depth(name: str) -> None:
    check_depth(name)


def tiny_vit() -> torch.nn.Module:
    return models.VisionTransformer(64, 8, num_layers=4, num_heads=2, hidden_dim=32, mlp_dim=64)


def tiny_swin() -> torch.nn.Module:
    return models.SwinTransformer([4, 4], 24, [1, 1, 2, 1], [1, 2, 4, 8], [2, 2])


def tiny_swin_v2() -> torch.nn.Module:
    from torchvision.models import swin_transformer as swin

    kinds = {"block": swin.SwinTransformerBlockV2, "downsample_layer": swin.PatchMergingV2}
    return models.SwinTransformer([4, 4], 24, [1, 1, 2, 1], [1, 2, 4, 8], [2, 2], **kinds)


def tiny_maxvit() -> torch.nn.Module:
    return models.MaxVit((64, 64), 16, 2, [16, 32, 32, 32], [1, 1, 1, 1], 16, 0.0)


def resnet18() -> torch.nn.Module:
    return models.resnet18(weights=None)


TINY: dict[str, tuple[Callable[[], torch.nn.Module], str]] = {
    "vit": (tiny_vit, "encoder.layers.encoder_layer_3"),
    "swin": (tiny_swin, "features.7"),
    "swin_v2": (tiny_swin_v2, "features.7"),
    "maxvit": (tiny_maxvit, "blocks.3"),
    "resnet18": (resnet18, "layer4"),
}


def wrapped(network: torch.nn.Module, size: int = 64) -> Any:
    """A network as a backbone, tapped as those of torchvision are."""
    backbone: Any = wrap_module(BackboneCard("tiny", "Tiny", size=size), network)
    return backbone.to("cpu", "fp32")


@pytest.mark.parametrize("name", TINY)
def test_the_deepest_block_decides_the_last_features(name: str) -> None:
    make, deepest = TINY[name]
    check_deepest(wrapped(make()), deepest)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "deepest"),
    [
        ("vit_b_32", "encoder.layers.encoder_layer_11"),
        ("swin_t", "features.7"),
        ("swin_v2_t", "features.7"),
        ("maxvit_t", "blocks.3"),
    ],
)
def test_the_deepest_block_of_torchvision_decides_the_last_features(
    name: str, deepest: str
) -> None:
    backbone: Any = backbones.card(f"random/torchvision/{name}").load()
    check_deepest(backbone.to("cpu", "fp32"), deepest)


def check_deepest(backbone: Any, deepest: str) -> None:
    """Without its deepest block, the last features change and no others."""
    size = backbone.card.size
    frames = torch.randint(0, 255, (1, size, size), dtype=torch.uint8)
    before = backbone(frames).pooled
    with torch.no_grad():
        for parameter in backbone.network.get_submodule(deepest).parameters():
            parameter.zero_()
    after = backbone(frames).pooled
    last = list(before)[-1].split("/")[0]
    for key, values in before.items():
        moved = not torch.allclose(values, after[key])
        assert moved == key.startswith(f"{last}/"), key


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vit_b_32", "swin_t", "maxvit_t"])
def test_transformers_of_torchvision_satisfy_the_contract(name: str) -> None:
    from etab.testing.backbones import check_backbone

    check_backbone(backbones.card(f"random/torchvision/{name}"))


def test_maps_keep_the_place_of_a_patch() -> None:
    """Rows and columns of a map are those of the picture, whichever way a network lays its output out."""
    for make in (tiny_vit, tiny_swin):
        backbone = wrapped(make())
        plain = torch.zeros(1, 64, 64, dtype=torch.uint8)
        marked = plain.clone()
        marked[:, 8:16, 40:48] = 255
        with torch.inference_mode():
            rows = [backbone.taps(backbone.normalised(x)) for x in (plain, marked)]
        change = (rows[0][0][1] - rows[1][0][1]).abs().sum(dim=1)[0]
        side = change.shape[0]
        row, column = divmod(int(change.argmax()), side)
        assert 8 <= (row + 0.5) * 64 / side <= 16
        assert 40 <= (column + 0.5) * 64 / side <= 48


def test_models_that_are_not_classifiers_of_pictures_are_unknown() -> None:
    from etab.errors import UnknownNameError

    with pytest.raises(UnknownNameError, match="No torchvision model"):
        backbones.card("random/torchvision/fcn_resnet50")


class Shallow(torch.nn.Module):
    """A patch embedding with maps, and a transformer without."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Conv2d(3, 8, 16, 16)
        self.blocks = torch.nn.TransformerEncoder(
            torch.nn.TransformerEncoderLayer(8, 2, 16), 2, enable_nested_tensor=False
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.blocks(self.embedding(x).flatten(2).transpose(1, 2)).mean(1)


def test_a_module_whose_maps_end_early_is_refused() -> None:
    card = backbones.from_callable("mine", Shallow(), size=64)
    with pytest.raises(UnsupportedOptionError, match=r"mine cannot be a backbone.*8 of its layers"):
        wrap_module(card, Shallow())


TIMM = [
    "test_vit",
    "test_convnext",
    "test_efficientnet",
    "test_resnet",
    "test_byobnet",
    "test_nfnet",
    "deit_tiny_patch16_224",
    "convnext_atto",
    "mobilevit_xxs",
    "mobilenetv3_small_050",
    "resnet10t",
    "vit_tiny_patch16_224",
    "edgenext_xx_small",
]


@pytest.mark.parametrize("name", TIMM)
def test_timm_is_tapped_across_its_depth(name: str) -> None:
    backbone: Any = backbones.card(f"random/timm/{name}").load()
    frames = torch.zeros(1, 3, backbone.card.size, backbone.card.size)
    backbone.network.requires_grad_(True)
    reached = [tapping.reached(grid, backbone.network) for _, grid, _ in backbone.taps(frames)]
    assert reached[0] < reached[1] < reached[2]
    assert not tapping.unused_layers(backbone.network, backbone.taps, backbone.card.size)


@pytest.mark.parametrize("name", ["cait_xxs24_224", "crossvit_tiny_240", "ghostnet_050"])
def test_networks_of_timm_that_cannot_be_tapped_are_refused(name: str) -> None:
    with pytest.raises(UnsupportedOptionError, match=f"{name}"):
        backbones.card(f"random/timm/{name}").load()


def test_a_model_of_the_hub_has_its_own_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its size, mean and std are those of its configuration, in the card and after loading."""
    import timm

    from etab.backbones.image import open as image_open

    config = {"input_size": [3, 160, 160], "mean": [0.1, 0.2, 0.3], "std": [0.5, 0.5, 0.5]}
    asked: list[str] = []

    def fetch(model_id: str) -> tuple[dict[str, object], str, dict[str, object]]:
        asked.append(model_id)
        return config, "vit_tiny_patch16_224", {}

    def create(model: str, pretrained: bool) -> torch.nn.Module:
        assert pretrained
        made = timm.create_model(
            "vit_tiny_patch16_224", img_size=160, depth=3, num_classes=0, pretrained_cfg=config
        )
        return made

    monkeypatch.setattr("timm.models.load_model_config_from_hf", fetch)
    monkeypatch.setattr(image_open, "_create_timm", create)
    card = backbones.card("hf-hub:somebody/vit_160")
    assert asked == ["somebody/vit_160"]
    assert (card.size, card.mean) == (160, (0.1, 0.2, 0.3))
    features = card.load()(torch.zeros(1, 160, 160, dtype=torch.uint8))
    assert features.maps[-1].shape[2] == 10
