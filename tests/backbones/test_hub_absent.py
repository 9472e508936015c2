"""Weights that were written by another class of transformers than the one that is read."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers", reason="transformers is not installed")

from etab import backbones
from etab.errors import WeightsError
from tests.backbones import tiny


def saved_by(name: str, kind: str, folder: Path) -> tuple[Path, Any]:
    """A tiny model of a family, saved by another class of the library, and the model."""
    import transformers

    target = tiny.write(kind, folder)
    config = transformers.AutoConfig.from_pretrained(target)
    model = getattr(transformers, name)(config)
    model.save_pretrained(target)
    return target, model


@pytest.mark.slow
def test_a_tower_that_was_saved_with_its_projection_is_read(tmp_path: Path) -> None:
    """Its tensors are called audio_model.*, as in ClapAudioModelWithProjection."""
    folder, model = saved_by("ClapAudioModelWithProjection", "clap_audio_model", tmp_path)
    alone = shutil.copytree(folder, tmp_path / "alone")
    model.audio_model.save_pretrained(alone)
    read: Any = backbones.card(f"transformers/{folder}").load()
    wanted: Any = backbones.card(f"transformers/{alone}").load()
    assert read.digest() == wanted.digest()
    (folder / "model.safetensors").unlink()
    without = {name: x for name, x in model.state_dict().items() if "layers.0" not in name}
    model.save_pretrained(folder, state_dict=without)
    with pytest.raises(WeightsError, match="which would be random"):
        backbones.card(f"transformers/{folder}").load()


@pytest.mark.slow
def test_a_file_of_segmentation_that_lacks_a_layer_is_refused(tmp_path: Path) -> None:
    """The model of segmentation has no last convolution: saving it as a whole would not help."""
    folder, _ = saved_by("MobileViTForSemanticSegmentation", "mobilevit", tmp_path)
    with pytest.raises(
        WeightsError,
        match=r"written by MobileViTForSemanticSegmentation\. .* name the MobileViTModel that it",
    ):
        backbones.card(f"transformers/{folder}").load()
