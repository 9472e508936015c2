"""The page of echo: what the board measured on CAMUS, beside published results of fine-tuned networks.

Ours are read from ``benchmarks/results``; published figures are written down here, each with where it stands and what differs
in its protocol.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.pages.published import Published, Section, section_lines
from etab.results import load_results
from etab.tasks.codes import BOARD_PROTOCOL

RESULTS = Path(__file__).resolve().parents[1] / "results"
_TEST = "EchoNet-Dynamic, official test split, fine-tuned"
_VISION_FM = "Echo-Vision-FM, AHA EPI 2026 no. 48"
_SAM = "medRxiv 2023.09.19.23295772"
_ELSEWHERE = (
    Published("EchoCardMAE", _TEST, {"mae": "3.78"}, "MICCAI 2025, paper 2462"),
    Published("Echo-Vision-FM", _TEST, {"mae": "3.87", "r2": "0.825"}, _VISION_FM),
    Published("CoReEcho", _TEST, {"mae": "3.90", "r2": "0.824"}, "arXiv 2403.10164"),
    Published(
        "EchoNet-Dynamic, beat by beat", _TEST, {"mae": "4.05"}, "Ouyang et al., Nature 580, 2020"
    ),
)
_EF = {"mae": "MAE, % EF", "r2": "R2", "pearson_r": "r"}
_EF_DIFFERS = (
    "Ours: frozen networks and a linear probe on two annotated frames of one view, five folds of patients five times. Published: networks "
    "trained as a whole, on whole clips; on CAMUS with a split that its source does not state, or on other data (EchoNet-Dynamic: "
    "7,465 training videos). They are reference rows and take no rank."
)

SECTIONS = (
    Section(
        "b0-A4-C",
        BOARD_PROTOCOL,
        "Ejection fraction from A4C (b0)",
        _EF,
        (
            Published(
                "Echo-Vision-FM",
                "CAMUS, fine-tuned, split not stated",
                {"mae": "4.42", "r2": "0.658", "pearson_r": "0.865"},
                _VISION_FM,
            ),
            Published(
                "best network of Leclerc et al., the board's 1",
                "CAMUS, from the masks of both views",
                {"mae": "5.6"},
                "IEEE TMI 38(9), 2019",
            ),
            *_ELSEWHERE,
        ),
        _EF_DIFFERS,
        falls=True,
    ),
    Section(
        "b0-A2-C",
        BOARD_PROTOCOL,
        "Ejection fraction from A2C (b0)",
        _EF,
        (),
        _EF_DIFFERS,
        falls=True,
    ),
    Section(
        "a0-A4-C",
        BOARD_PROTOCOL,
        "Left ventricle in A4C (a0)",
        {"dice": "Dice", "jaccard": "Jaccard"},
        (
            Published("SAM, fine-tuned", "EchoNet-Dynamic to CAMUS", {"dice": "0.897"}, _SAM),
            Published("EchoNet-Dynamic", "EchoNet-Dynamic to CAMUS", {"dice": "0.850"}, _SAM),
            Published("EchoCardMAE", _TEST, {"dice": "0.930"}, "MICCAI 2025, paper 2462"),
            Published(
                "U-Net of Leclerc et al.",
                "CAMUS, trained as a whole, both views",
                {"dice": "0.939 ED, 0.916 ES"},
                "IEEE TMI 38(9), 2019",
            ),
        ),
        "Ours: a linear probe on frozen maps, five folds of patients five times, 224 px. Decoders and fine-tuned "
        "networks on the same patients are in [finetuning.md](finetuning.md). Published: networks trained as a "
        "whole on 7,465 videos of EchoNet-Dynamic, two of them tested on CAMUS without training there, or on CAMUS.",
    ),
)

_INTRO = """Measured here on CAMUS (500 patients, 224 px copy), with {backbones} backbones, twins and controls. The ranks stand in
[leaderboard.md](leaderboard.md). Below, our rows are sorted; then published figures (in italics), with what differs in how they
were made. They are not ranked together: training, input and test patients differ.
"""


def page(note: str) -> str:
    """The whole page; empty tables where nothing was measured."""
    found = load_results(RESULTS)
    parts = [
        "# Echo beside published results\n",
        note,
        _INTRO.format(backbones=len({result.backbone for result in found})),
    ]
    for section in SECTIONS:
        parts += section_lines(section, found)
    return "\n".join(parts)
