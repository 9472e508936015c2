"""The names of 2022: architectures, heads and task codes."""

from __future__ import annotations

import pytest

from etab.errors import (
    UnknownNameError,
    UnsupportedOptionError,
)
from etab.legacy import names
from etab.legacy.models import (
    ETABmodel,
    available_backbones,
    available_heads,
)

pytest.importorskip("torch")
pytest.importorskip("segmentation_models_pytorch")


@pytest.mark.parametrize(
    ("printed", "there"),
    [
        ("ResNet-50", "random/torchvision/resnet50"),
        ("resnet 50", "random/torchvision/resnet50"),
        ("MobileNet-V2", "random/torchvision/mobilenet_v2"),
        ("PoolFormer-S24", "random/timm/poolformer_s24"),
        ("PVTv2-B1", "random/timm/pvt_v2_b1"),
        ("MiT-B2", "random/smp/mit_b2"),
        ("DaViT-T", "random/timm/davit_tiny"),
        ("efficientnet_lite0", "efficientnet_lite0"),
        ("mobilenetv2", "mobilenetv2"),
        ("timm/resnet18", "timm/resnet18"),
    ],
)
def test_backbones_by_their_printed_names(printed: str, there: str) -> None:
    assert names.architecture(printed).name == there


@pytest.mark.parametrize(
    ("name", "nearest"), [("UniFormer-S", "caformer"), ("ResT-S", "PVTv2"), ("rest-lite", "PVTv2")]
)
def test_families_that_are_gone_are_refused_with_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(UnknownNameError, match=nearest):
        ETABmodel(backbone=name)


def test_every_available_backbone_resolves_to_a_card() -> None:
    found = available_backbones()
    assert {"ResNet-50", "MiT-B0", "DaViT-T", "efficientnet_lite0"} <= set(found)
    for name in found:
        assert names.architecture(name).learned
    with pytest.raises(UnknownNameError, match="ResNet-50"):
        names.architecture("ResNet-51")


def test_heads_by_their_printed_names() -> None:
    printed = {
        "U-Net",
        "U-Net++",
        "MAnet",
        "Linknet",
        "PSPNet",
        "DeepLabV3",
        "SegFormer",
        "TopFormer",
        "DPT",
    }
    assert printed <= set(available_heads("segmentation"))
    assert {"Linear", "RNN", "LSTM"} <= set(available_heads("regression"))
    assert set(available_heads()) >= printed
    assert (
        names.printed_head("unet", "segmentation")
        == names.printed_head("U-Net", "segmentation")
        == "U-Net"
    )
    assert names.printed_head("LSTM + Linear output layer", "regression") == "LSTM"
    with pytest.raises(UnsupportedOptionError, match="these are: Linear"):
        names.printed_head("U-Net", "classification")
    with pytest.raises(UnknownNameError, match="U-Net"):
        names.printed_head("Unett", "segmentation")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("EA40", "a0-A4-E"),
        ("CA22", "a1-A2-C"),
        ("CA41", "a2-A4-C"),
        ("EA43", "b0-A4-E"),
        ("CA25", "d0-A2-C"),
    ],
)
def test_old_codes_are_the_tasks_they_mean(old: str, new: str) -> None:
    assert names.task(old).code == names.task(new).code == new


def test_codes_that_do_not_fit_are_refused() -> None:
    for bad in ("ZA40", "EA49", "a9", "", "a0-A4"):
        with pytest.raises(UnknownNameError):
            names.task(bad)
    names.check_code("a0", "segmentation", "LV_seg")
    with pytest.raises(UnsupportedOptionError, match="regression"):
        names.check_code("b0", "segmentation")
    with pytest.raises(UnsupportedOptionError, match="LA_seg"):
        names.check_code("a1-A4-C", "segmentation", "LV_seg")
