"""How the input of each named echo network was checked, and whether its authors agree.

``python -m benchmarks.upstream`` runs the code of the authors beside etab and prints the
differences. Authors sign by the issue form "Check of an adapter by its authors".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """One comparison of the input of a network with the code of its authors.

    Attributes:
        repository: The repository on GitHub, "owner/name".
        commit: Its commit, the first eight digits.
        code: What of it was run.
        difference: Largest absolute difference of the normalised tensors, over the clips.
        date: When, "2026-11-29".
        by_authors: Who of the authors confirmed the adapter, and where; "" while nobody has.
    """

    repository: str
    commit: str
    code: str
    difference: float
    date: str = "2026-11-29"
    by_authors: str = ""

    def __str__(self) -> str:
        """Describe the comparison in one cell of a table."""
        size = "0" if self.difference == 0 else f"{self.difference:.0e}"
        return f"{self.repository}@{self.commit}, {self.code}: {size} ({self.date})"


CHECKS: Mapping[str, Check] = {
    "echoprime": Check("echonet/EchoPrime", "45609cd0", "process_mp4s", 0.0),
    "panecho": Check("CarDS-Yale/PanEcho", "836c46ef", "EchoNetDynamicDataset", 8e-7),
    "echoclip": Check("echonet/echo_CLIP", "23cd3278", "read_avi and open_clip's transform", 0.0),
    "echofm": Check("SekeunKim/EchoFM", "f5b68212", "EchoDataset_from_Video_mp4", 0.0),
    "echonet_ef": Check("echonet/dynamic", "e01d0294", "datasets.Echo", 5e-7),
    "echonet_seg": Check("echonet/dynamic", "e01d0294", "datasets.Echo", 5e-7),
    "echocardmae": Check("m1dsolo/EchoCardMAE", "2bd057dd", "video_transform of val_ef", 5e-7),
}
"""The comparisons, by the name of the network: three public clips, whole and their first ten
frames."""
