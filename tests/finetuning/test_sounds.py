"""Fine-tuning on sound: windows of recordings, scores of recordings and patients, decided classes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from etab.errors import IncompatibleError
from etab.finetuning import cells as tuned
from etab.finetuning import plan as finetuning_plan
from etab.results import Predictions
from etab.runs.run import Settings
from etab.training.loop import Recipe

torch = pytest.importorskip("torch")

SIDE = 32
WIDTH = 80
RATE = 1000


def tone(seconds: float, hertz: float = 100.0) -> np.ndarray:
    times = np.arange(round(seconds * RATE)) / RATE
    return np.asarray(np.sin(2 * np.pi * hertz * times) * (1 + times), dtype=np.float32)


@pytest.mark.parametrize(("seconds", "columns"), [(0.5, 80), (5.0, 80), (10.0, 160), (12.5, 200)])
def test_a_picture_has_the_time_of_its_recording(seconds: float, columns: int) -> None:
    from etab.finetuning.sounds import whole_picture

    picture = whole_picture(tone(seconds), RATE, SIDE)
    assert picture.shape == (SIDE, columns)
    if seconds < 5:  # repeated, so no column is silent
        assert (picture.max(axis=0) > 0).all()


def numbered_table(widths: list[int]):  # type: ignore[no-untyped-def]
    """Pictures whose columns tell their number: 1, 2, 3, ... in a row that is loudest below."""
    from etab.finetuning.sounds import SoundTable

    pictures = []
    for width in widths:
        picture = np.zeros((SIDE, width), np.uint8)
        picture[0] = np.arange(1, width + 1)
        picture[1] = 255
        pictures.append(picture)
    return SoundTable(pictures, np.arange(len(widths)))


def test_tested_recordings_use_all_their_windows_and_validation_the_middle_one() -> None:
    table = numbered_table([80, 200, 160])
    rows = np.array([2, 1, 0])
    windows, owners = table.pieces(rows)
    first_columns = (windows[:, 0, 0, 0] * 255).round().int().tolist()
    assert owners.tolist() == [0, 0, 1, 1, 1, 2]
    assert first_columns == [1, 81, 1, 81, 121, 1]
    middle = (table.inputs(rows)[:, 0, 0, 0] * 255).round().int().tolist()
    assert middle == [41, 61, 1]


def test_training_windows_begin_anywhere_and_keep_their_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("etab.finetuning.sounds.other_room", lambda windows: windows)
    table = numbered_table([200, 80])
    starts = set()
    for seed in range(40):
        torch.manual_seed(seed)
        windows, answers = table.augmented(np.array([0, 1]))
        assert answers.tolist() == [0, 1]
        starts.add(int((windows[0, 0, 0, 0] * 255).round()))
        assert int((windows[1, 0, 0, 0] * 255).round()) == 1
    assert min(starts) < 20
    assert max(starts) > 100


def test_another_room_keeps_the_range_and_changes_rows_apart() -> None:
    from etab.finetuning.augment import other_room

    torch.manual_seed(0)
    windows = torch.full((6, 1, 32, 80), 0.6)
    changed = other_room(windows)
    assert changed.shape == windows.shape
    assert 0 <= float(changed.min()) <= float(changed.max()) <= 1
    levels = changed.flatten(1).median(dim=1).values
    assert len(set(levels.tolist())) == 6
    assert (levels - 0.6).abs().max() <= 0.0501
    silent = (changed == 0).float().flatten(1).mean(dim=1)
    assert (silent <= 0.24).all()


@pytest.mark.parametrize(
    ("task", "words"),
    [("e0-AL-D", "a state for each time"), ("b6-A4-E", "several frames")],
)
def test_what_cannot_be_trained_is_refused_with_a_reason(task: str, words: str) -> None:
    with pytest.raises(IncompatibleError, match=words):
        finetuning_plan.plan(task, ["mobilenetv2"])


@pytest.mark.slow
@pytest.mark.parametrize("task", ["f1-AL-D", "f2-AL-D", "e1-AL-D"])
def test_a_network_is_trained_on_recordings_and_scored_on_patients(
    task: str, phantom_tree: Callable[..., Path], tmp_path: Path
) -> None:
    root = phantom_tree(["circor"], patients=30) / "circor"
    settings = Settings(root=root, results=tmp_path / "r", precision="fp32")
    recipe = Recipe(epochs=1, batch=8, learning_rate=1e-3, patience=0)
    (planned,) = finetuning_plan.plan(
        task, ["random/mobilenetv2"], protocol="cv2", side=SIDE, recipe=recipe
    )
    (result,) = tuned.execute(planned, settings)
    assert result.protocol == "cv2-finetune"
    assert result.settings["window"] == 5.0
    (path,) = (tmp_path / "r").rglob("*.csv")
    table = Predictions.from_csv(path.read_text())
    assert len(set(table.items)) == len(table.items)
    people = set(table.patients)
    again = tuned.finished(planned, settings)
    assert again is not None
    assert again[0].value == result.value
    assert result.n_patients == len(people)
    if task != "e1-AL-D":
        assert len(table.items) == 30
        assert all("training_value" in fold["choice"] for fold in result.folds)
