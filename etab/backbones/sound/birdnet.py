"""A backbone that stays in its own format: BirdNET through LiteRT, frozen, on the processor.

It is optional twice over: LiteRT is an extra (``pip install "etab-bench[birdnet]"``), and the
weights are for non-commercial use (CC BY-NC-SA 4.0), so that no list of "all" backbones holds it.
It has no random twin.
"""

from __future__ import annotations

import hashlib
import importlib
from pathlib import Path
from typing import Any

import numpy as np

from etab.backbones.base import BackboneCard
from etab.errors import UnsupportedOptionError, WeightsError
from etab.types import Array, Features, FloatArray

RATE, PART = 48_000, 144_000
TENSORS = {
    "block4_3": "model/BLOCK_4-3_ADD/add",
    "block4_4": "model/BLOCK_4-4_ADD/add",
    "embedding": "model/GLOBAL_AVG_POOL/Mean",
}


def parts(window: FloatArray) -> FloatArray:
    """Parts (k, 144000) of 3 s of a window; a last one of less than 1.5 s is dropped, unless it is
    the only one.

    What is missing is zeros, as the package of BirdNET cuts its files.
    """
    starts = list(range(0, len(window), PART))
    if len(starts) > 1 and len(window) - starts[-1] < PART // 2:
        starts.pop()
    rows = [window[s : s + PART] for s in starts]
    return np.stack([np.pad(row, (0, PART - len(row))) for row in rows]).astype(np.float32)


class LiteBackbone:
    """BirdNET's graph with all its tensors kept; what they say of the parts of a window is pooled."""

    def __init__(self, card: BackboneCard, path: Path) -> None:
        """Build the interpreter. Raises WeightsError without LiteRT, or for a graph without the
        tensors wanted.
        """
        try:
            library = importlib.import_module("ai_edge_litert.interpreter")
        except ImportError as error:
            raise WeightsError(
                f'{card.name} needs LiteRT, which is not installed: pip install "etab-bench[birdnet]".'
            ) from error
        self.card = card
        self._digest = hashlib.sha256(path.read_bytes()).hexdigest()
        self.graph: Any = library.Interpreter(
            str(path), experimental_preserve_all_tensors=True, num_threads=1
        )
        self.graph.allocate_tensors()
        self.input = int(self.graph.get_input_details()[0]["index"])
        places = {str(d["name"]): int(d["index"]) for d in self.graph.get_tensor_details()}
        missing = [name for name in TENSORS.values() if name not in places]
        if missing:
            raise WeightsError(
                f"{path} is not the graph of {card.name}: it has no tensor {missing[0]}."
            )
        self.places = {layer: places[name] for layer, name in TENSORS.items()}

    def digest(self) -> str:
        """sha256 of the file."""
        return self._digest

    def to(self, device: str, precision: str) -> LiteBackbone:
        """Stay as it is: LiteRT runs on the processor, in fp32; another precision raises
        UnsupportedOptionError.
        """
        if precision != "fp32":
            raise UnsupportedOptionError(
                f"{self.card.name} runs in fp32; {precision!r} was asked for."
            )
        return self

    def _row(self, window: FloatArray) -> dict[str, Array]:
        found: dict[str, list[Array]] = {layer: [] for layer in self.places}
        for part in parts(window):
            self.graph.set_tensor(self.input, part[None])
            self.graph.invoke()
            for layer, place in self.places.items():
                values = np.asarray(self.graph.get_tensor(place))
                found[layer].append(values.reshape(-1, values.shape[-1]))
        steps = {layer: np.concatenate(rows) for layer, rows in found.items()}
        means = {f"{layer}/mean": s.mean(0) for layer, s in steps.items()}
        return means | {
            f"{layer}/mean+std": np.concatenate([s.mean(0), s.std(0)]) for layer, s in steps.items()
        }

    def __call__(self, x: Any) -> Features:
        """Embed float32 windows (n, samples) at 48 kHz; raises UnsupportedOptionError for anything
        else.
        """
        import torch

        if x.ndim != 2 or x.dtype != torch.float32:
            raise UnsupportedOptionError(
                f"{self.card.name} reads float32 (n, samples), got {x.dtype} {tuple(x.shape)}."
            )
        rows = [self._row(window) for window in x.cpu().numpy()]
        order = sorted(rows[0], key=lambda name: list(TENSORS).index(name.split("/")[0]))
        return Features(
            {
                name: torch.from_numpy(np.stack([r[name] for r in rows])).to(x.device)
                for name in order
            }
        )
