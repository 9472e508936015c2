"""Networks of clips see exactly what their authors fed them; weights load whole or not at all; the contract holds."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from etab import backbones
from etab.backbones.checked import CHECKS
from etab.backbones.video import named as video
from etab.backbones.video import networks as clipnets
from etab.backbones.video.contract import ClipContract
from etab.backbones.video.echocardmae import EchoCardMAE
from etab.cli import convert as cli_convert
from etab.cli import main as cli
from etab.cli.listing import TABLES
from etab.errors import (
    IncompatibleError,
    StorageError,
    UnknownNameError,
    UnsupportedOptionError,
    WeightsError,
)
from etab.features.whole_clips import WholeClips
from etab.runs.run import Run
from etab.testing.video import check_video_backbone, recording
from etab.types import Array, Features, Record

PUBLISHED = ("echoprime", "panecho", "echoclip", "echofm", "echonet_ef", "echocardmae")
SHAPES = [(40, 112, 112), (20, 300, 400), (7, 433, 310), (31, 601, 435), (32, 224, 224)]


def contract(name: str) -> ClipContract:
    found = backbones.card(name).clip
    assert found is not None
    return found


def fed(name: str, frames: Array) -> tuple[Tensor, Array]:
    """What the adapter feeds its network for a recording, (3, frames, size, size), and which frames are there."""
    clip = contract(name)
    x, there = clip.prepare(frames)
    assert x.dtype == np.uint8
    return clip.tensor(torch.from_numpy(x)[None], torch.from_numpy(there)[None])[0], there


# --- the contracts once more, from the words of those who published them ---


def zoomed(frame: Array, size: int = 224) -> Array:
    """The middle square without a tenth on each side, in colour, cubic."""
    colour = np.stack([frame] * 3, axis=-1)
    height, width, _ = colour.shape
    excess = round((max(height, width) - min(height, width)) / 2)
    if height > width:
        colour = colour[excess:-excess]
    elif width > height:
        colour = colour[:, excess:-excess]
    top, left = int(0.1 * colour.shape[0]), int(0.1 * colour.shape[1])
    colour = np.ascontiguousarray(colour[top:-top, left:-left])
    return np.asarray(cv2.resize(colour, (size, size), interpolation=cv2.INTER_CUBIC))


def echoprime(frames: Array) -> Tensor:
    """32 frames from the first, 0-255 less mean by std, zeros behind the end, then every second one."""
    x = torch.from_numpy(np.stack([zoomed(f) for f in frames]).astype(np.float32)).permute(
        3, 0, 1, 2
    )
    mean, std = (
        torch.tensor([29.110628, 28.076836, 29.096405]),
        torch.tensor([47.989223, 46.456997, 47.20083]),
    )
    x = (x - mean[:, None, None, None]) / std[:, None, None, None]
    padded = torch.cat([x, torch.zeros(3, max(0, 32 - x.shape[1]), 224, 224)], dim=1)
    return padded[:, 0:32:2]


def panecho(frames: Array) -> Tensor:
    """16 frames at 256 x 256 by area, the middle 224, ImageNet; the last frame carried forward."""
    some = [
        cv2.resize(f, (256, 256), interpolation=cv2.INTER_AREA)[16:240, 16:240] for f in frames[:16]
    ]
    some += [some[-1]] * (16 - len(some))
    x = torch.from_numpy(np.stack(some)).float()[None].repeat(3, 1, 1, 1) / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (x - mean[:, None, None, None]) / std[:, None, None, None]


def echoclip(frames: Array) -> Tensor:
    """Every second of the first 40 frames, CLIP's mean and std; fewer where there are fewer."""
    x = (
        torch.from_numpy(
            np.stack([zoomed(f) for f in frames])[0 : min(40, len(frames)) : 2]
        ).float()
        / 255
    )
    mean, std = (
        torch.tensor([0.48145466, 0.4578275, 0.40821073]),
        torch.tensor([0.26862954, 0.26130258, 0.27577711]),
    )
    return ((x - mean) / std).permute(3, 0, 1, 2)


def echofm(frames: Array) -> Tensor:
    """32 frames in [0, 1], 224 by Pillow's bilinear filter; a short recording runs around."""
    some = [
        Image.fromarray(frames[i % len(frames)]).resize((224, 224), Image.Resampling.BILINEAR)
        for i in range(32)
    ]
    return (
        torch.from_numpy(np.stack([np.asarray(f) for f in some])).float()[None].repeat(3, 1, 1, 1)
        / 255
    )


ECHONET = ((0.1257, 0.1271, 0.1292), (0.1951, 0.1957, 0.1974))


def small_video(frames: Array) -> Array:
    """Frames of 112 px, as the videos of EchoNet-Dynamic are; three equal channels."""
    shrinks = min(frames.shape[1:]) >= 112
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    resized = [cv2.resize(f, (112, 112), interpolation=method) for f in frames]
    return np.stack([np.stack(resized)] * 3).astype(np.float32)


def echonet_ef(frames: Array) -> Tensor:
    """0-255 less mean by std, zeros up to 64 frames, then every second of 32."""
    video_of = small_video(frames)
    mean, std = (255 * np.array(part, np.float32).reshape(3, 1, 1, 1) for part in ECHONET)
    video_of = (video_of - mean) / std
    missing = max(0, 64 - video_of.shape[1])
    padded = np.concatenate([video_of, np.zeros((3, missing, 112, 112), np.float32)], axis=1)
    return torch.from_numpy(padded[:, 2 * np.arange(32)])


def echocardmae(frames: Array) -> Tensor:
    """Black frames up to 61, every fourth of 16, then [0, 1] less mean by std."""
    video_of = small_video(frames)
    missing = max(0, 61 - video_of.shape[1])
    padded = np.concatenate([video_of, np.zeros((3, missing, 112, 112), np.float32)], axis=1)
    mean, std = (np.array(part, np.float32).reshape(3, 1, 1, 1) for part in ECHONET)
    return torch.from_numpy((padded[:, 4 * np.arange(16)] / 255 - mean) / std)


OF_AUTHORS = {
    "echoprime": echoprime,
    "panecho": panecho,
    "echoclip": echoclip,
    "echofm": echofm,
    "echonet_ef": echonet_ef,
    "echocardmae": echocardmae,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_input_is_that_of_the_published_code(name: str, shape: tuple[int, int, int]) -> None:
    frames = recording(*shape)
    mine, there = fed(name, frames)
    theirs = OF_AUTHORS[name](frames)
    size = contract(name).size
    assert mine.shape == (3, contract(name).frames, size, size)
    shown = mine[:, torch.from_numpy(there)] if name == "echoclip" else mine
    assert shown.shape == theirs.shape
    torch.testing.assert_close(shown, theirs, rtol=0, atol=2e-6)


def test_a_clip_may_begin_later() -> None:
    frames = recording(60, 64, 64)
    for name in PUBLISHED:
        late, start = contract(name).prepare(frames, 30), contract(name).prepare(frames[30:])
        assert np.array_equal(late[0], start[0]), name
        assert np.array_equal(late[1], start[1]), name
    with pytest.raises(UnsupportedOptionError, match="begins at frame 60 of 60; wanted 0 to 59"):
        contract("echofm").prepare(frames, 60)
    with pytest.raises(UnsupportedOptionError, match=r"uint8 of shape .frames, h, w.; got float32"):
        contract("echofm").prepare(frames.astype(np.float32))
    with pytest.raises(UnsupportedOptionError, match="one of squash, zoom, centre, pillow"):
        ClipContract(4, fitting="stretch")


def test_the_rules_for_short_recordings() -> None:
    found = {
        short: ClipContract(5, 2, short=short).numbers(6)
        for short in ("zeros", "black", "hold", "loop", "fewer")
    }
    assert {short: numbers.tolist() for short, (numbers, _) in found.items()} == {
        "zeros": [0, 2, 4, 4, 4],
        "black": [0, 2, 4, 4, 4],
        "hold": [0, 2, 4, 5, 5],
        "loop": [0, 2, 4, 0, 2],
        "fewer": [0, 2, 4, 4, 4],
    }
    assert {short: int(there.sum()) for short, (_, there) in found.items()} == {
        "zeros": 3,
        "black": 3,
        "hold": 5,
        "loop": 5,
        "fewer": 3,
    }


# --- names, cards, weights ---


def test_cards_are_complete_and_need_no_weights() -> None:
    for name in video.clip_names():
        card = backbones.card(name)
        assert card.family == "video"
        assert card.clip is not None
        assert (card.size, card.interpolation) == (card.clip.size, card.clip.fitting)
        assert card.licence
        assert card.pretraining
        assert backbones.card(f"random/{name}").twin == name
        assert max(card.mean) < 1, f"{name}: the card's mean is on the [0, 1] scale"
    with pytest.raises(UnknownNameError, match="Did you mean 'echoprime'"):
        backbones.card("echo_prime")


def test_every_published_network_lists_its_check() -> None:
    assert set(CHECKS) == {*PUBLISHED, "echonet_seg"}
    for name, check in CHECKS.items():
        assert check.difference <= 2e-6, name
        assert check.repository.split("/")[1].lower() in backbones.card(
            name
        ).source.lower().replace("echonetdynamic", "dynamic").replace("echo-clip", "echo_clip"), (
            name
        )
    table = TABLES["echo"]()
    assert [row[0] for row in table.rows] == list(CHECKS)
    assert all(row[-1] for row in table.rows)


def test_published_weights_are_asked_for() -> None:
    with pytest.raises(
        WeightsError,
        match=r"licence: CC BY-NC-SA 4.0.*etab convert FILE.*local:weights.safetensors@panecho",
    ):
        backbones.card("panecho").load()
    with pytest.raises(WeightsError, match="no weights file"):
        backbones.card("local:nowhere.pt@echoprime")


def test_a_hub_that_is_out_of_reach_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.models import WeightsEnum

    def none(*_: Any, **__: Any) -> Any:
        raise OSError("no route")

    monkeypatch.setattr(WeightsEnum, "get_state_dict", none)
    with pytest.raises(WeightsError, match=r"no route.*local:<file>@torchvision/mc3_18"):
        backbones.card("torchvision/mc3_18").load()
    # where there is one, what it gives is loaded
    state = video._row("torchvision/mc3_18").build()[0].state_dict()
    monkeypatch.setattr(WeightsEnum, "get_state_dict", lambda *_, **__: state)
    assert backbones.card("torchvision/mc3_18").load().digest() == clipnets.digest(state)


def test_a_local_file_is_loaded_whole_or_not_at_all(tmp_path: Path) -> None:
    twin: Any = backbones.card("random/torchvision/mc3_18").load()
    state = twin.network.state_dict()
    save_file(state, tmp_path / "good.safetensors")
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "good.pt")
    for name in ("good.safetensors", "good.pt"):
        card = backbones.card(f"local:{tmp_path / name}@torchvision/mc3_18")
        assert card.sha256
        assert card.load().digest() == twin.digest()
    bad = {k: v for k, v in state.items() if k != "stem.0.weight"}
    bad |= {"head.weight": torch.zeros(2), "fc.bias": torch.zeros(7)}
    save_file(bad, tmp_path / "bad.safetensors")
    with pytest.raises(
        WeightsError,
        match=r"does not fit the network: 1 missing: stem.0.weight\.",
    ):
        backbones.card(f"local:{tmp_path / 'bad.safetensors'}@torchvision/mc3_18").load()


def test_of_a_published_file_only_named_parts_are_left_out() -> None:
    x = torch.zeros(1)
    tail = {"EF_head.1.weight": x, "AVStenosis_head.1.bias": x, "encoder.time_encoder.pe": x}
    whole = {
        "encoder.encoder.model.features.0.0.weight": x,
        "encoder.transformer.layers.0.norm1.bias": x,
        **tail,
    }
    kept = ["encoder.model.features.0.0.weight", "transformer.layers.0.norm1.bias"]
    assert list(video.own_state("panecho", whole)) == kept
    assert (
        list(video.own_state("panecho", {**dict.fromkeys(kept, x), "time_encoder.pe": x})) == kept
    )
    assert list(video.own_state("panecho", {**whole, "stranger": x})) == [*kept, "stranger"]
    tower = {"visual.trunk.stem.0.weight": x, "visual.head.proj.weight": x}
    text = dict.fromkeys(
        (
            "transformer.resblocks.0.ln_1.bias",
            "positional_embedding",
            "logit_scale",
            "text_projection",
        ),
        x,
    )
    assert list(video.own_state("echoclip", tower | text)) == [
        "trunk.stem.0.weight",
        "head.proj.weight",
    ]
    mae = dict.fromkeys(
        (
            "decoder_embed.bias",
            "decoder_prj.norm1.bias",
            "prj_norm.bias",
            "mask_token",
            "norm.bias",
        ),
        x,
    )
    assert list(video.own_state("echofm", mae)) == ["norm.bias"]
    card_mae = dict.fromkeys(
        ("encoder.norm.bias", "decoder.head.bias", "encoder_to_decoder.weight", "mask_token"), x
    )
    assert list(video.own_state("echocardmae", card_mae)) == ["norm.bias"]


@pytest.mark.parametrize("name", PUBLISHED)
def test_keys_are_the_published_ones(name: str) -> None:
    with torch.device("meta"):
        keys = set(video._row(name).build()[0].state_dict())
    some = {
        "echoprime": {
            "conv_proj.weight",
            "blocks.15.attn.rel_pos_t",
            "pos_encoding.class_token",
            "head.1.weight",
        },
        "panecho": {
            "encoder.model.classifier.0.weight",
            "transformer.layers.3.self_attn.in_proj_weight",
        },
        "echoclip": {
            "trunk.stages.2.blocks.26.mlp.fc1.weight",
            "trunk.head.norm.weight",
            "head.proj.weight",
        },
        "echofm": {
            "patch_embed.proj.weight",
            "cls_token",
            "pos_embed_temporal",
            "blocks.23.attn.q.weight",
            "norm.bias",
        },
        "echonet_ef": {"stem.0.weight", "layer4.1.conv2.0.3.weight", "fc.bias"},
        "echocardmae": {
            "patch_embed.proj.weight",
            "blocks.11.attn.qkv.weight",
            "blocks.0.attn.v_bias",
            "norm.bias",
        },
    }[name]
    assert some <= keys
    state = {key: torch.zeros(1) for key in ("stranger", min(keys))}
    with pytest.raises(WeightsError, match="1 surplus: stranger"):
        video.clip_weights(name, state, "x")


# --- the networks ---


def test_panecho_reads_planes_as_they_lie() -> None:
    """The published network takes three planes in the order of memory for a picture; so does ours."""
    net, seen = clipnets.PanEcho.__new__(clipnets.PanEcho), []
    nn.Module.__init__(net)
    net.encoder = nn.Module()
    net.encoder.model = lambda planes: (seen.append(planes), torch.zeros(len(planes), 768))[1]
    net.transformer = nn.Identity()
    x = torch.arange(2 * 3 * 4.0).view(2, 3, 4, 1, 1)
    frames, mixed = net(x)
    assert frames.shape == mixed.shape == (2, 4, 768)
    assert torch.equal(seen[0], x.reshape(2 * 4, 3, 1, 1))
    torch.testing.assert_close(
        mixed[0, 3, :2], torch.tensor([np.sin(3.0), np.cos(3.0)], dtype=torch.float32)
    )


def test_echocardmae_is_a_transformer_over_tubes() -> None:
    """The encoder once more, in plain steps, with random weights and biases."""
    torch.manual_seed(0)
    net: Any = EchoCardMAE(12, 2, 3, frames=4, size=16, tube=(2, 8, 8)).eval()
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.2)
    x = torch.rand(2, 3, 4, 16, 16)
    place = torch.arange(8)[:, None]
    column = torch.arange(12)[None]
    angle = place / 10000 ** (2 * (column // 2) / 12)
    table = torch.where(column % 2 == 0, angle.sin(), angle.cos())
    tokens = nn.functional.conv3d(
        x, net.patch_embed.proj.weight, net.patch_embed.proj.bias, stride=(2, 8, 8)
    )
    tokens = tokens.flatten(2).transpose(1, 2) + table
    for block in net.blocks:
        wide = block.norm1(tokens) @ block.attn.qkv.weight.T
        q, k, v = wide.chunk(3, dim=2)
        heads = []
        for i in range(3):
            part = slice(4 * i, 4 * i + 4)
            scores = q[..., part] @ k[..., part].transpose(1, 2) / 2
            heads.append(scores.softmax(dim=2) @ v[..., part])
        tokens = tokens + block.attn.proj(torch.cat(heads, dim=2))
        tokens = tokens + block.mlp.fc2(nn.functional.gelu(block.mlp.fc1(block.norm2(tokens))))
    wanted = net.norm(tokens)
    torch.testing.assert_close(net(x).flatten(1, 2), wanted, rtol=1e-4, atol=1e-5)
    pooled, sequences = net.embed(x, torch.ones(2, 4))
    torch.testing.assert_close(pooled["tokens/mean"], wanted.mean(dim=1), rtol=1e-4, atol=1e-5)
    assert sequences["tokens"].shape == (2, 2, 12)


def test_echofm_is_a_transformer_over_tubes() -> None:
    torch.manual_seed(0)
    net = clipnets.EchoFM(32, 2, 4, frames=8, size=32).eval()
    x = torch.rand(2, 3, 8, 32, 32)
    pooled, sequences = net.embed(x, torch.ones(2, 8))
    assert net(x).shape == (2, 2, 4, 32)
    assert sequences["tokens"].shape == (2, 2, 32)
    torch.testing.assert_close(pooled["tokens/mean"], net(x).flatten(1, 2).mean(dim=1))
    tokens = (
        net.patch_embed.proj(x)[0, :, 1, 0, 1]
        + net.pos_embed_spatial[0, 1]
        + net.pos_embed_temporal[0, 1]
    )
    net.blocks, net.norm = nn.ModuleList(), nn.Identity()
    torch.testing.assert_close(net(x)[0, 1, 1], tokens)


def test_echoclip_averages_unit_vectors_of_the_frames_that_are_there() -> None:
    net = clipnets.EchoCLIP("convnext_atto", 8).eval()
    x = torch.randn(1, 3, 4, 32, 32)
    there = torch.tensor([[True, True, False, False]])
    pooled, sequences = net.embed(x, there)
    torch.testing.assert_close(sequences["frames"].norm(dim=2), torch.ones(1, 4))
    torch.testing.assert_close(pooled["frames/mean"], net(x[:, :, :2]).mean(dim=1))


def small(name: str, frames: int, size: int) -> Any:
    """The random twin of a network, fed less, so that a test is quick."""
    card = backbones.card(f"random/{name}")
    clip = replace(contract(name), frames=frames, size=size)

    def load() -> Any:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network, embed = video._row(name).build()
        if name == "echofm":
            for block in network.blocks[4:]:  # of 24 blocks that are alike
                block.forward = nn.Identity().forward
        return clipnets.VideoBackbone(blank, network, embed, clip)

    blank = replace(card, size=size, clip=clip)
    return replace(blank, load=partial(load))


def test_contract() -> None:
    check_video_backbone(small("torchvision/mc3_18", 8, 48))
    check_video_backbone(small("torchvision/swin3d_t", 4, 64))


# Frames and size that these networks are fed: a small input takes less time.
FED_LESS = {
    "echoclip": (8, 64),
    "panecho": (16, 64),
    "echonet_ef": (16, 56),
    "torchvision/swin3d_t": (8, 64),
    "torchvision/r2plus1d_18": (16, 56),
    "torchvision/mc3_18": (16, 56),
    "torchvision/r3d_18": (16, 56),
    "echofm": (32, 224),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", video.clip_names())
def test_contract_of_all(name: str) -> None:
    fed = FED_LESS.get(name)
    check_video_backbone(small(name, *fed) if fed else backbones.card(f"random/{name}"))


def test_frames_behind_the_end_are_zeros_to_the_network() -> None:
    clip = replace(contract("echoprime"), frames=6, size=16)
    x, there = clip.prepare(recording(7, 40, 40))
    assert there.tolist() == [True] * 4 + [False] * 2
    tensor = clip.tensor(torch.from_numpy(x)[None], torch.from_numpy(there)[None])
    assert not tensor[0, :, 4:].any()
    assert tensor[0, :, :4].abs().sum(dim=(0, 2, 3)).min() > 0


class Recordings:
    """A source of made recordings of other lengths, which counts what is decoded."""

    def __init__(self, *lengths: int) -> None:
        self.whole = {f"r{i}": recording(n, 40, 50) for i, n in enumerate(lengths)}
        self.decoded = 0

    def n_frames(self, record: Record) -> int:
        return len(self.whole[record.id])

    def frames(self, record: Record, at: list[int]) -> Array:
        self.decoded += len(at)
        return self.whole[record.id][at]


@pytest.mark.parametrize("name", ["echoprime", "echofm"])
def test_clips_of_a_task_as_the_network_wants_them(name: str) -> None:
    source: Any = Recordings(40, 9, 25)
    clip = replace(contract(name), frames=4, size=16)
    wanted = [("r0", 5), ("r1", 0), ("r2", 22), ("r0", 30), ("r1", 6)]
    clips = WholeClips.of(
        source, [(Record(r, "p", "A4C"), (at, at + 3)) for r, at in wanted], clip, "b6"
    )
    assert len(clips) == 5
    assert len(clips.frames) == 20
    seen: list[Any] = []

    def backbone(x: Any, there: Any) -> Features:
        seen.append((x, there))
        return Features({"a/mean": x.flatten(1)[:, :3]})

    over = clips.over(backbone, 8)  # type: ignore[arg-type]
    rows = [over(torch.from_numpy(x)) for x in clips.batches(source, 16, 8)]
    assert [len(f) for f in rows] == [2, 2, 1]
    whole = [clip.prepare(source.whole[r], at) for r, at in wanted]
    assert np.array_equal(torch.cat([x for x, _ in seen]), np.stack([x for x, _ in whole]))
    assert np.array_equal(torch.cat([t for _, t in seen]), np.stack([t for _, t in whole]))
    assert source.decoded <= 20
    with pytest.raises(UnsupportedOptionError, match="fed 16 px; 224 px are asked for"):
        next(clips.batches(source, 224, 8))
    other = WholeClips.of(source, [(Record("r0", "p", "A4C"), (0,))], replace(clip, period=3), "b6")
    assert other.settings["contract"] != clips.settings["contract"]


def test_a_run_on_frames_refuses_a_network_of_clips() -> None:
    with pytest.raises(
        IncompatibleError, match="embeds clips, but the rows of b0-A4-C are not clips"
    ):
        Run("b0-A4-C", "random/torchvision/r3d_18").check()


# --- conversion ---


class Code:
    """A pickle of it runs code."""

    def __reduce__(self) -> Any:
        return (Path, ("ran",))


def test_convert(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    state = backbones.card("random/torchvision/mc3_18").load().network.state_dict()  # type: ignore[attr-defined]
    source, target = tmp_path / "published.pt", tmp_path / "out" / "w.safetensors"
    torch.save({"weights": dict(state), "maker": Code()}, source)
    with pytest.raises(
        WeightsError, match=r"would run code.*etab convert FILE weights.safetensors --trust"
    ):
        cli_convert.to_safetensors(source, target, network="torchvision/mc3_18")
    words = [
        "etab",
        "convert",
        str(source),
        str(target),
        "--network",
        "torchvision/mc3_18",
        "--trust",
    ]
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(SystemExit, match="0"):
        cli.main()
    assert (
        f"{len(state)} tensors; use it as local:{target}@torchvision/mc3_18"
        in capsys.readouterr().out
    )
    assert all(torch.equal(v, state[k]) for k, v in load_file(target).items())
    with pytest.raises(UnsupportedOptionError, match="is not a new file"):
        cli_convert.to_safetensors(source, target, trust=True)
    with pytest.raises(WeightsError, match="does not fit the network"):
        cli_convert.to_safetensors(
            source, tmp_path / "x.safetensors", network="torchvision/r3d_18", trust=True
        )
    with pytest.raises(UnknownNameError, match="Did you mean 'echofm'"):
        cli_convert.to_safetensors(
            source, tmp_path / "x.safetensors", network="echo_fm", trust=True
        )
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="could not be written"):
        cli_convert.to_safetensors(source, tmp_path / "file" / "x.safetensors", trust=True)
