"""Heart states are scored by people, and the timing of S1 and S2 is a read-out."""

from __future__ import annotations

import numpy as np
import pytest

from etab.errors import IncompatibleError, UndefinedError, UnsupportedOptionError
from etab.leaderboard.admission.ranges import out_of_range
from etab.metrics import METRICS
from etab.metrics.clinical import readouts
from etab.metrics.columns import ScoredRows
from etab.metrics.heart_sounds import STATE_COLUMNS, TIMING_COLUMNS
from etab.metrics.states import EventTiming, event_timing, frame_accuracy
from etab.results import Predictions
from etab.runs.run import Run, plan
from etab.sounds.states import S1, S2
from etab.tasks.menu import TASKS
from etab.testing.metrics import sample
from etab.types import Kind

CYCLE = [0] * 6 + [1] * 8 + [2] * 5 + [3] * 20


@pytest.mark.parametrize("name", STATE_COLUMNS)
def test_a_person_counts_once_whatever_the_number_of_recordings(name: str) -> None:
    """One person with three recordings, another with one."""
    columns = {name: np.array([0.2, 0.4, 0.6, 1.0])}
    rows = ScoredRows(Kind.STATES, columns, np.array(["a", "a", "a", "b"]))
    assert METRICS[name].value(rows) == pytest.approx((0.4 + 1.0) / 2)
    of_row = np.array([2.0, 2.0, 2.0, 1.0])  # person a is drawn twice
    assert METRICS[name].draws(rows, of_row[None])[0] == pytest.approx((2 * 0.4 + 1.0) / 3)


def test_the_task_says_that_people_are_scored() -> None:
    task = TASKS["e0-AL-D"]
    assert (task.version, task.unit, task.aggregate) == (2, "patient", "")
    assert "people" in METRICS[task.metric].title
    assert "people" in task.anchors.low_source


def test_nothing_is_put_together_where_the_metric_is_a_mean_over_people() -> None:
    cells = plan("e0-AL-D,f1-AL-D", ["envelopes"], protocols=None, aggregate="locations")
    assert {cell.task for cell in cells} == {"f1-AL-D"}
    with pytest.raises(IncompatibleError, match="nothing to combine"):
        Run("e0-AL-D", "envelopes", aggregate="locations").check()


def test_timing_by_hand() -> None:
    truth = np.array(CYCLE * 4)
    assert event_timing(truth, truth, S1) == EventTiming(4, 0.0, 0.0)
    assert event_timing(truth, np.roll(truth, 2), S1) == EventTiming(4, 40.0, 40.0)
    assert event_timing(truth, np.roll(truth, -1), S2) == EventTiming(4, 20.0, -20.0)
    # Beyond the tolerance nothing is found, and a sound is never found by the other one.
    assert event_timing(truth, np.roll(truth, 6), S1) == EventTiming(0, 0.0, 0.0)
    swapped = np.where(truth == 0, 2, np.where(truth == 2, 0, truth))
    assert event_timing(truth, swapped, S1).found == 0
    assert event_timing(truth, np.full(len(truth), 3), S2) == EventTiming(0, 0.0, 0.0)
    with pytest.raises(UndefinedError, match="No frame is annotated"):
        event_timing(np.full(9, -1), np.zeros(9), S1)


def test_early_and_late_sounds_do_not_cancel_in_the_error() -> None:
    truth = np.array(CYCLE * 2)
    early = np.roll(truth, -2)[: len(CYCLE)]
    late = np.roll(truth, 2)[len(CYCLE) :]
    timing = event_timing(truth, np.concatenate([early, late]), S2)
    assert timing == EventTiming(2, 40.0, 0.0)


def timed(error: list[float], found: list[float], patients: list[str]) -> ScoredRows:
    values = np.array(error)
    columns = {name: np.ones(len(values)) for name in STATE_COLUMNS}
    columns |= dict.fromkeys(TIMING_COLUMNS, values)
    columns |= {"s1_found": np.array(found), "s2_found": np.array(found)}
    return ScoredRows(Kind.STATES, columns, np.array(patients))


def test_readouts_are_means_over_people_of_the_sounds_found() -> None:
    rows = timed([10.0, 30.0, 0.0, 40.0], [5, 9, 0, 3], ["a", "a", "a", "b"])
    table = {row.name: row for row in readouts(rows, draws=50)}
    assert list(table) == [
        "timing error of S1, ms",
        "mean lateness of S1, ms",
        "median of the timing error of S1, ms",
        "95th percentile of the timing error of S1, ms",
        "timing error of S2, ms",
        "mean lateness of S2, ms",
        "median of the timing error of S2, ms",
        "95th percentile of the timing error of S2, ms",
        "S1 and S2 missed at 60 ms",
        "surplus S1 and S2 at 60 ms",
        "S1 and S2 missed at 100 ms",
        "surplus S1 and S2 at 100 ms",
    ]
    assert table["timing error of S1, ms"].value == pytest.approx((20 + 40) / 2)
    assert table["timing error of S1, ms"].low is not None


def test_quantiles_of_the_timing_are_over_people() -> None:
    """The smallest error that a half, or 95 %, of the people do not exceed; none was found in p20."""
    names = [f"p{i}" for i in range(21)]
    errors = [float(i) for i in range(20)] + [99.0]
    rows = timed([*errors, 4.0], [1] * 20 + [0, 1], [*names, "p0"])
    table = {row.name: row.value for row in readouts(rows, draws=50)}
    # p0 has 0 and 4 ms in two recordings: 2 ms in the mean.
    assert table["median of the timing error of S1, ms"] == 9.0
    assert table["95th percentile of the timing error of S1, ms"] == 18.0


def test_missed_and_surplus_sounds_are_what_the_shares_leave() -> None:
    rows = timed([10.0, 30.0], [5, 9], ["a", "b"])
    columns = {**rows.columns, "se_100": np.array([0.5, 1.0]), "ppv_60": np.array([0.9, 0.5])}
    found = readouts(ScoredRows(Kind.STATES, columns, rows.patients), draws=50)
    table = {row.name: row.value for row in found}
    assert table["S1 and S2 missed at 100 ms"] == pytest.approx(0.25)
    assert table["surplus S1 and S2 at 60 ms"] == pytest.approx(0.3)
    assert table["surplus S1 and S2 at 100 ms"] == 0.0


def test_results_made_before_the_timing_have_no_readouts() -> None:
    columns = {name: np.ones(2) for name in STATE_COLUMNS}
    with pytest.raises(UnsupportedOptionError, match="heart states with their timing"):
        readouts(ScoredRows(Kind.STATES, columns, np.array(["a", "b"])))


@pytest.mark.parametrize(
    ("name", "value"), [("s1_found", -1.0), ("s2_error_ms", 101.0), ("s1_late_ms", -101.0)]
)
def test_a_timing_that_cannot_be_is_refused(name: str, value: float) -> None:
    columns, patients = sample(Kind.STATES, np.random.default_rng(0))
    items = tuple(f"i{k}" for k in range(len(patients)))
    people = tuple(str(patient) for patient in patients)
    folds = ("fold0",) * len(items)
    assert out_of_range(Predictions(Kind.STATES, items, people, folds, columns)) == ""
    wrong = {**columns, name: np.full(len(items), value)}
    assert name in out_of_range(Predictions(Kind.STATES, items, people, folds, wrong))


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int64, np.float64, object])
@pytest.mark.parametrize("wrong", [4, 255, -2, 0.5])
def test_values_that_are_no_states_are_refused(kind: type, wrong: float) -> None:
    right = np.array([0, 1, 2, 3, 0], dtype=kind)
    assert frame_accuracy(right, right) == 1
    values = right.astype(float)
    values[2] = wrong
    with np.errstate(invalid="ignore"):
        odd = values.astype(kind)
    if float(odd[2]) not in (-1, 0, 1, 2, 3):
        for pair in ((right, odd), (odd, right)):
            with pytest.raises(UndefinedError, match="0 to 3"):
                frame_accuracy(*pair)
