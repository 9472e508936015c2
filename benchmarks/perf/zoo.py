"""The model zoo measured: parameters, multiply-adds, and how many frames (or windows of sound) a second each backbone embeds.

``python -m benchmarks.perf.zoo [--count] [NAME ...]`` measures the named backbones (all where none is named; ``--count``
leaves the times out) and the architectures of 2022. It updates ``benchmarks/perf/zoo.json``, from which
``docs/reference/zoo.md`` is generated, and ``configs/compute.json``, from which leaderboards take them; ``--publish`` writes
the second file from the first alone. One input at a time is counted (convolutions and matrix products, one multiply-add
each); times are of one thread, in processor seconds, so that what else the machine does matters little: the median over
batches after one that warms up.
"""

from __future__ import annotations

import json
import platform
import re
import sys
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from etab import backbones
from etab.backbones.base import BackboneCard
from etab.errors import EtabError
from etab.legacy import names

HERE = Path(__file__).parent
PUBLISHED = HERE.parents[1] / "configs" / "compute.json"
BATCH, REPEATS = 8, 5


def inputs(card: BackboneCard, n: int) -> torch.Tensor:
    """``n`` made inputs in a backbone's own contract: noise, since time does not depend on what is shown."""
    rng = np.random.default_rng(0)
    rate = getattr(card, "rate", None)
    if card.modality == "sound" and rate:
        samples = round(rate * (getattr(card, "seconds", 0.0) or 5.0))
        return torch.from_numpy(rng.uniform(-0.1, 0.1, (n, samples)).astype(np.float32))
    return torch.from_numpy(rng.integers(0, 256, (n, card.size, card.size), dtype=np.uint8))


def counted(call: Any, x: Any) -> float:
    """Giga multiply-adds of one call: torch's counter, and the steps of recurrent layers, which it does not see."""
    steps: list[int] = []

    def recurrent(module: torch.nn.RNNBase, given: tuple[Any, ...], _: Any) -> None:
        steps.append(
            given[0].numel()
            // module.input_size
            * sum(w.numel() for w in module.parameters() if w.ndim == 2)
        )

    network = call if isinstance(call, torch.nn.Module) else getattr(call, "network", None)
    layers = (
        [] if network is None else [m for m in network.modules() if isinstance(m, torch.nn.RNNBase)]
    )
    hooks = [layer.register_forward_hook(recurrent) for layer in layers]
    try:
        with FlopCounterMode(display=False) as counter:
            call(x)
    finally:
        for hook in hooks:
            hook.remove()
    return round((float(counter.get_total_flops()) / 2 + sum(steps)) / 1e9, 3)


def parameters(backbone: Any) -> int:
    """Parameters of what is called."""
    network = getattr(backbone, "network", None)
    return 0 if network is None else sum(p.numel() for p in network.parameters())


def measured(card: BackboneCard, times: bool) -> dict[str, Any]:
    """Facts of one named backbone; a control that describes records embeds no input, and has no speed."""
    if card.modality == "record":
        return {"parameters": 0, "gmacs": 0.0}
    backbone: Any = card.load()
    one, batch = inputs(card, 1), inputs(card, BATCH)
    out: dict[str, Any] = {
        "parameters": parameters(backbone),
        "gmacs": counted(backbone, one) if card.learned else 0.0,
    }
    if not times:
        return out
    backbone = backbone.to("cpu", "fp32")
    seconds = []
    for _ in range(REPEATS + 1):
        started = time.process_time()
        backbone(batch)
        seconds.append(time.process_time() - started)
    return {**out, "per_second": float(f"{BATCH / np.median(seconds[1:]):.3g}")}


def architecture(place: str) -> dict[str, Any]:
    """Parameters and multiply-adds of an architecture of 2022, built without weights."""
    if place.startswith("smp/"):  # reads values while it is built
        network, size = built(place)
        network.to("meta")
    else:
        with torch.device("meta"):
            network, size = built(place)
    with torch.no_grad():
        found = counted(network.eval(), torch.zeros(1, 3, size, size, device="meta"))
    return {
        "parameters": sum(p.numel() for p in network.parameters()),
        "gmacs": found,
        "size": size,
    }


def built(place: str) -> tuple[Any, int]:
    """The network of an architecture without its classifier where its library has a name for that, and its input size."""
    library, _, model = place.partition("/")
    if library == "timm":
        import timm

        network = timm.create_model(model, pretrained=False, num_classes=0)
        config: Any = network.pretrained_cfg
        return network, int(config["input_size"][-1])
    if library == "smp":
        from segmentation_models_pytorch.encoders import get_encoder

        return get_encoder(model, weights=None), 224
    from torchvision import models

    network = models.get_model(model, weights=None)
    for tail in ("fc", "classifier"):
        if hasattr(network, tail):
            setattr(network, tail, torch.nn.Identity())
    return network, 224


def input_words(card: BackboneCard) -> str:
    """The size of one input in words."""
    if card.modality == "sound" and card.rate:
        return f"{card.seconds or 5.0:g} s of sound at {card.rate:,} Hz"
    return f"a picture of {card.size} x {card.size} pixels"


def published(measurements: Mapping[str, Any]) -> str:
    """The text of ``configs/compute.json``: learned backbones, with what was counted and on which machine."""
    rows: dict[str, Any] = {}
    for name, facts in measurements["backbones"].items():
        card = backbones.card(name)
        if not card.learned or card.modality == "record":
            continue
        rows[name] = {
            "gmacs": facts["gmacs"],
            "per_second": facts.get("per_second"),
            "input": input_words(card),
        }
    setup = measurements["setup"]
    machine = f"{setup['processor']}, {setup['threads']} thread, {setup['precision']}, "
    machine += f"batches of {setup['batch']}, torch {setup['torch']}"
    content = {
        "made_by": "python -m benchmarks.perf.zoo",
        "machine": machine,
        "backbones": rows,
    }
    return json.dumps(content, indent=1) + "\n"


def processor() -> str:
    """The processor's name."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", info.read_text()) if info.exists() else None
    return found.group(1).strip() if found else platform.machine()


def main(words: list[str]) -> int:
    """Measure and update the file; 1 where a backbone could not be loaded."""
    torch.set_num_threads(1)
    place = HERE / "zoo.json"
    held: Mapping[str, Any] = json.loads(place.read_text()) if place.exists() else {}
    if "--publish" in words:
        PUBLISHED.write_text(published(held))
        return 0
    found, failed = dict(held.get("backbones", {})), 0
    for name in [w for w in words if not w.startswith("--")] or backbones.names():
        try:
            found[name] = measured(backbones.card(name), "--count" not in words)
            print(name, found[name], flush=True)
        except EtabError as error:
            failed += 1
            print(f"{name}: {error}", flush=True)
    sketched = {name: architecture(there) for name, there in names.ARCHITECTURES.items()}
    setup = {
        "processor": processor(),
        "threads": 1,
        "batch": BATCH,
        "precision": "fp32",
        "torch": version("torch"),
    }
    measurements = {"setup": setup, "backbones": found, "architectures": sketched}
    place.write_text(json.dumps(measurements, indent=1) + "\n")
    PUBLISHED.write_text(published(measurements))
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
