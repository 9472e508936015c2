"""BirdNET in its own format: frozen, on the CPU, through LiteRT.

LiteRT is an extra (``pip install "etab-bench[birdnet]"``), and the weights are for non-commercial
use (CC BY-NC-SA 4.0). BirdNET is therefore not among all backbones. It has no random twin.
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

# Sampling rate in Hz, and length in samples of the parts that the network reads.
_RATE = 48_000
PART = 3 * _RATE
# Tensor of the graph for each layer.
TENSORS = {
    "block4_3": "model/BLOCK_4-3_ADD/add",
    "block4_4": "model/BLOCK_4-4_ADD/add",
    "embedding": "model/GLOBAL_AVG_POOL/Mean",
}


def parts(window: FloatArray) -> FloatArray:
    """Cut a window into parts of 3 s, as the BirdNET package cuts files.

    A last part of less than 1.5 s is dropped, unless it is the only one; otherwise it is filled
    with zeros.

    Args:
        window: Samples (n,) at 48 kHz.

    Returns:
        float32 (k, 144000).
    """
    starts = list(range(0, len(window), PART))
    if len(starts) > 1 and len(window) - starts[-1] < PART // 2:
        starts.pop()
    rows = [window[s : s + PART] for s in starts]
    return np.stack([np.pad(row, (0, PART - len(row))) for row in rows]).astype(np.float32)


class LiteBackbone:
    """BirdNET's graph; its layers are pooled over the parts of a window.

    Args:
        card: The card.
        path: The TFLite file.

    Raises:
        WeightsError: LiteRT is not installed, or the graph lacks one of the tensors.
    """

    def __init__(self, card: BackboneCard, path: Path) -> None:
        try:
            library = importlib.import_module("ai_edge_litert.interpreter")
        except ImportError as error:
            raise WeightsError(
                f"{card.name} needs LiteRT, which is not installed: "
                'pip install "etab-bench[birdnet]".'
            ) from error
        self.card = card
        self._digest = hashlib.sha256(path.read_bytes()).hexdigest()
        self.graph: Any = library.Interpreter(
            str(path),
            experimental_preserve_all_tensors=True,
            num_threads=1,
        )
        self.graph.allocate_tensors()
        self.input = int(self.graph.get_input_details()[0]["index"])
        indices = {str(d["name"]): int(d["index"]) for d in self.graph.get_tensor_details()}
        missing = [name for name in TENSORS.values() if name not in indices]
        if missing:
            raise WeightsError(
                f"{path} is not the graph of {card.name}: it has no tensor {missing[0]}."
            )
        self.indices = {layer: indices[name] for layer, name in TENSORS.items()}

    def digest(self) -> str:
        """Return the sha256 of the file."""
        return self._digest

    def to(self, device: str, precision: str) -> LiteBackbone:
        """Check the precision; LiteRT always runs on the CPU.

        Args:
            device: Ignored.
            precision: "fp32"; LiteRT has no other.

        Returns:
            The backbone itself.

        Raises:
            UnsupportedOptionError: Another precision is wanted.
        """
        if precision != "fp32":
            raise UnsupportedOptionError(
                f"{self.card.name} runs in fp32 only; {precision!r} was requested."
            )
        return self

    def _row(self, window: FloatArray) -> dict[str, Array]:
        """The pooled layers of one window (samples,)."""
        outputs: dict[str, list[Array]] = {layer: [] for layer in self.indices}
        for part in parts(window):
            self.graph.set_tensor(self.input, part[None])
            self.graph.invoke()
            for layer, index in self.indices.items():
                values = np.asarray(self.graph.get_tensor(index))
                outputs[layer].append(values.reshape(-1, values.shape[-1]))
        row = {}
        for layer, arrays in outputs.items():
            steps = np.concatenate(arrays)
            mean = steps.mean(0)
            row[f"{layer}/mean"] = mean
            row[f"{layer}/mean+std"] = np.concatenate([mean, steps.std(0)])
        return row

    def __call__(self, x: Any) -> Features:
        """Compute the features of windows.

        Args:
            x: float32 tensor (n, samples) at 48 kHz.

        Returns:
            The layers, pooled over time.

        Raises:
            UnsupportedOptionError: ``x`` has another type or shape.
        """
        import torch

        if x.ndim != 2 or x.dtype != torch.float32:
            raise UnsupportedOptionError(
                f"{self.card.name} reads float32 (n, samples), got {x.dtype} {tuple(x.shape)}."
            )
        rows = [self._row(window) for window in x.cpu().numpy()]
        pooled = {}
        for name in rows[0]:
            values = np.stack([row[name] for row in rows])
            pooled[name] = torch.from_numpy(values).to(x.device)
        return Features(pooled)
