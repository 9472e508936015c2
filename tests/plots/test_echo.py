"""Pictures of samples: what is drawn where, and what is refused."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch

from etab.errors import EtabWarning, UnsupportedOptionError
from etab.legacy.video_tools import create_echo_clip
from etab.legacy.visualization import plot_segment, to_display
from etab.plots.echo import centiseconds, overlay

matplotlib.use("Agg")


@pytest.mark.parametrize(("fps", "cs"), [(20, 5), (30, 3), (50, 2), (200, 2), (18, 6)])
def test_frame_time_is_the_nearest_centisecond(fps: float, cs: int) -> None:
    assert centiseconds(fps) == cs


def test_clips_and_stills_become_gifs(tmp_path: Path) -> None:
    from PIL import Image

    clip = torch.rand(5, 3, 16, 24)
    with Image.open(
        create_echo_clip(clip, "demo", fps=30, normalized=False, folder=tmp_path)
    ) as image:
        assert (image.n_frames, image.size, image.info["duration"]) == (5, (24, 16), 30)
    with Image.open(create_echo_clip(clip[0], "one", normalized=False, folder=tmp_path)) as image:
        assert image.n_frames == 1
    with pytest.warns(EtabWarning, match="Pass normalized=False"):
        create_echo_clip(clip[0], "pale", folder=tmp_path)
    with pytest.raises(UnsupportedOptionError, match=r"got \(16, 24\)"):
        create_echo_clip(clip[0, 0], "flat", folder=tmp_path)
    with pytest.raises(UnsupportedOptionError, match="plain file name"):
        create_echo_clip(clip, "../out", folder=tmp_path)
    with pytest.raises(UnsupportedOptionError, match="above 0"):
        create_echo_clip(clip, "still", fps=0, normalized=False, folder=tmp_path)


def test_display_undoes_what_was_done() -> None:
    grey = torch.full((3, 4, 4), 0.25)
    mean, std = (
        torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    assert to_display((grey - mean) / std, normalized=True) == pytest.approx(
        np.full((4, 4, 3), 0.25), abs=1e-6
    )
    assert to_display(grey, normalized=False) == pytest.approx(np.full((4, 4, 3), 0.25))


def test_plot_segment_outlines_the_mask() -> None:
    from matplotlib import pyplot

    mask = torch.zeros(1, 20, 20, dtype=torch.long)
    mask[0, 5:15, 5:15] = 1
    axes = plot_segment(torch.rand(3, 20, 20), mask, overlay=True, color="r", normalized=False)
    paths = [p for c in axes.collections for p in c.get_paths()]
    assert len(paths) == 1
    assert paths[0].get_extents().width == pytest.approx(10, abs=1)
    plot_segment(torch.rand(3, 20, 20), mask[0], overlay=False)
    with pytest.raises(UnsupportedOptionError, match="mask is"):
        plot_segment(torch.rand(3, 20, 20), mask[0, :5])
    with pytest.raises(UnsupportedOptionError, match="no colour 'redish'"):
        plot_segment(torch.rand(3, 20, 20), mask[0], color="redish")
    pyplot.close("all")


def test_overlay_colours_the_mask_alone() -> None:
    frame, mask = np.full((9, 9), 100, np.uint8), np.zeros((9, 9), bool)
    mask[3:6, 3:6] = True
    out = overlay(frame, mask)
    assert (out[~mask] == 100).all()
    assert (out[mask] != 100).any(axis=1).all()
