"""Models of the hub by name, from a cache laid out as the hub's client lays it out; no hub is reachable."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

pytest.importorskip("transformers", reason="transformers is not installed")

import huggingface_hub
import timm
import transformers
from safetensors.torch import save_file

from etab import backbones
from etab.errors import UnsupportedOptionError, WeightsError
from tests.backbones import tiny

FIRST, SECOND = "a" * 40, "b" * 40
SIDE = 64


class Hub:
    """A local cache of the hub."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache

    def put(self, name: str, folder: Path, commit: str = FIRST, branch: str = "main") -> None:
        """Keep a folder as a commit of a repository: blobs, a snapshot of links to them, a branch."""
        repository = self.cache / f"models--{name.replace('/', '--')}"
        snapshot = repository / "snapshots" / commit
        for part in (snapshot, repository / "blobs", repository / "refs"):
            part.mkdir(parents=True, exist_ok=True)
        for file in folder.iterdir():
            blob = repository / "blobs" / f"{commit[:4]}{file.name}"
            shutil.copyfile(file, blob)
            (snapshot / file.name).symlink_to(Path("../../blobs") / blob.name)
        (repository / "refs" / branch).write_text(commit)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    cache = tmp_path / "hub"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return Hub(cache)


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write("vit", tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A function that writes a repository of timm, and returns its folder and the network."""
    network = timm.create_model("resnet10t", num_classes=0).eval()

    def write(folder: Path) -> tuple[Path, Any]:
        folder.mkdir()
        facts = {"input_size": [3, SIDE, SIDE], "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
        facts |= {"num_classes": 0, "first_conv": "conv1", "classifier": "fc"}
        config = {"architecture": "resnet10t", "num_classes": 0, "pretrained_cfg": facts}
        (folder / "config.json").write_text(json.dumps(config))
        save_file(network.state_dict(), folder / "model.safetensors")
        return folder, network

    return write


def picture(side: int = tiny.SIZE) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, side, side), np.uint8))


def features(name: str) -> Tensor:
    pooled: Tensor = backbones.card(name).load()(picture()).pooled["block3/mean"]
    return pooled


def test_a_model_of_the_cache_is_that_of_its_folder(hub: Hub, vit: Path) -> None:
    hub.put("some/vit", vit)
    assert torch.equal(features("transformers/some/vit"), features(f"transformers/{vit}"))
    assert backbones.card("transformers/some/vit").name == "transformers/some/vit"


def test_weights_in_several_files(hub: Hub, vit: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(vit, tmp_path / "sharded")
    (folder / "model.safetensors").unlink()
    network = transformers.AutoModel.from_pretrained(vit)
    network.save_pretrained(folder, max_shard_size="8KB")
    parts = sorted(folder.glob("model-*-of-*.safetensors"))
    assert len(parts) > 1
    assert (folder / "model.safetensors.index.json").is_file()
    hub.put("some/parts", folder)
    assert torch.equal(features("transformers/some/parts"), features(f"transformers/{vit}"))
    parts[1].unlink()
    hub.put("some/hole", folder)
    with pytest.raises(WeightsError, match=rf"named {parts[1].name}.*incomplete without this file"):
        backbones.card("transformers/some/hole").load()


def test_a_revision_is_pinned_in_the_name(hub: Hub, vit: Path, tmp_path: Path) -> None:
    changed = shutil.copytree(vit, tmp_path / "changed")
    network = transformers.AutoModel.from_pretrained(vit)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.1)
    network.save_pretrained(changed)
    hub.put("some/vit", vit)
    hub.put("some/vit", changed, SECOND, "v1")
    wanted = features(f"transformers/{changed}")
    for revision in ("v1", SECOND):
        name = f"transformers/some/vit@{revision}"
        assert backbones.card(name).name == name
        assert torch.equal(features(name), wanted)
    assert not torch.equal(features("transformers/some/vit"), wanted)
    assert torch.equal(
        features(f"transformers/some/vit@{FIRST}"), features("transformers/some/vit")
    )
    with pytest.raises(WeightsError, match=r"some/vit@v7 could not be fetched"):
        backbones.card("transformers/some/vit@v7")


def test_a_revision_stands_before_the_period(hub: Hub, tmp_path: Path) -> None:
    hub.put("some/clips", tiny.write("videomae", tmp_path), branch="v1")
    clip = backbones.card("transformers/some/clips@v1@3").clip
    assert clip is not None
    assert clip.period == 3


def test_what_follows_an_at_sign_is_explained(hub: Hub, vit: Path) -> None:
    for name in (f"transformers/{vit}@fast", "transformers/some/vit@"):
        with pytest.raises(UnsupportedOptionError, match=r"rate in Hz.*period.*or the revision"):
            backbones.card(name)


@pytest.mark.parametrize("name", ["transformers/some/vit", "hf-hub:some/resnet", "timm/resnet10t"])
def test_a_hub_out_of_reach_is_asked_once(
    hub: Hub,
    vit: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
) -> None:
    settings = huggingface_hub.constants
    monkeypatch.setattr(settings, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(settings, "ENDPOINT", "http://127.0.0.1:1")
    template = "http://127.0.0.1:1/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(settings, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    wanted = r"127.0.0.1:1 cannot be reached \(.*\), and the model is not in the cache .*/hub"
    with pytest.raises(WeightsError, match=wanted):
        backbones.card(name).load()
    hub.put("some/vit", vit)
    assert features("transformers/some/vit").shape[0] == 1
    assert not settings.HF_HUB_OFFLINE
    assert "Retrying" not in caplog.text


class Evil:
    """A pickle that would write a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return open, (str(self.file), "w")


def test_a_pickle_is_never_opened(hub: Hub, vit: Path, tmp_path: Path, resnet: Any) -> None:
    folder = shutil.copytree(vit, tmp_path / "pickle")
    (folder / "model.safetensors").unlink()
    torch.save({"w": Evil(tmp_path / "ran")}, folder / "pytorch_model.bin")
    hub.put("some/pickle", folder)
    for name in ("transformers/some/pickle", f"transformers/{folder}"):
        with pytest.raises(WeightsError, match=r"safetensors only, never as a pickle"):
            backbones.card(name).load()
    other, _ = resnet(tmp_path / "timm")
    (other / "model.safetensors").unlink()
    torch.save({"w": Evil(tmp_path / "ran")}, other / "pytorch_model.bin")
    hub.put("some/resnet", other)
    with pytest.raises(WeightsError, match="a pickle that would run code"):
        backbones.card("hf-hub:some/resnet").load()
    assert not (tmp_path / "ran").exists()


def test_code_of_a_repository_of_the_hub_is_never_executed(
    hub: Hub, vit: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(vit, tmp_path / "code")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.C", "AutoModel": "evil.M"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    hub.put("some/code", folder)
    with pytest.raises(UnsupportedOptionError, match=r"auto_map.*never executed"):
        backbones.card("transformers/some/code")
    assert not (tmp_path / "ran").exists()


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"


@pytest.mark.parametrize("form", ["cut", "pointer"])
def test_a_file_that_is_no_safetensors_is_named_so(
    hub: Hub, vit: Path, tmp_path: Path, resnet: Any, form: str
) -> None:
    model = shutil.copytree(vit, tmp_path / "model")
    other, _ = resnet(tmp_path / "timm")
    for folder, name in ((model, "some/vit"), (other, "some/resnet")):
        file = folder / "model.safetensors"
        content = file.read_bytes()
        file.write_bytes(POINTER if form == "pointer" else content[: len(content) // 2])
        hub.put(name, folder)
    for name in ("transformers/some/vit", f"transformers/{model}", "hf-hub:some/resnet"):
        with pytest.raises(WeightsError, match="cut short, or is something else"):
            backbones.card(name).load()


@pytest.mark.parametrize("form", ["safetensors", "pickle", "revision"])
def test_a_model_of_timm_has_the_input_of_its_repository(
    hub: Hub, tmp_path: Path, resnet: Any, form: str
) -> None:
    folder, network = resnet(tmp_path / "timm")
    if form == "pickle":  # of tensors alone, it is read without running anything
        (folder / "model.safetensors").unlink()
        torch.save(network.state_dict(), folder / "pytorch_model.bin")
    hub.put("some/resnet", folder, branch="v2" if form == "revision" else "main")
    name = "hf-hub:some/resnet@v2" if form == "revision" else "hf-hub:some/resnet"
    card = backbones.card(name)
    assert (card.size, card.mean, card.std) == (SIDE, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    x = picture(SIDE)
    mean, std = (torch.tensor(values)[:, None, None] for values in (card.mean, card.std))
    with torch.inference_mode():
        wanted = network.forward_features((x[:, None].float() / 255 - mean) / std).mean((2, 3))
    backbone: Any = card.load()
    torch.testing.assert_close(backbone(x).pooled["stride32/mean"], wanted, atol=1e-5, rtol=1e-5)


@pytest.fixture
def gate(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A hub on loopback whose every model asks for access."""

    class Gate(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(403)
            self.send_header("X-Error-Code", "GatedRepo")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_HEAD  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Gate)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
    monkeypatch.setattr(
        huggingface_hub.constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        address + "/{repo_id}/resolve/{revision}/{filename}",
    )
    yield
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.slow  # a server on loopback
@pytest.mark.usefixtures("gate")
@pytest.mark.parametrize("name", ["transformers/some/gated", "hf-hub:some/gated"])
def test_a_gated_model_says_where_to_ask(name: str) -> None:
    with pytest.raises(WeightsError, match=r"Ask for access.*hf auth login"):
        backbones.card(name)


def test_a_folder_of_timm_is_told_how_to_name_it(tmp_path: Path, resnet: Any) -> None:
    folder, _ = resnet(tmp_path / "timm")
    wanted = f"local:{folder}/model.safetensors@timm/resnet10t"
    for name in (f"hf-hub:{folder}", f"local:{folder}"):
        with pytest.raises(WeightsError, match=wanted):
            backbones.card(name)
    assert backbones.card(wanted).load().digest()
