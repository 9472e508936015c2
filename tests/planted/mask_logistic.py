"""Faults of the linear mask probe by likelihood."""

from tests.faults import Fault

SOLVER = "etab/heads/masks/likelihood.py"
MINIMISER = "etab/heads/masks/minimiser.py"
PASSES = "etab/heads/masks/passes.py"
HEAD = "etab/heads/masks/logistic.py"
PROBE = "etab/heads/masks/probe.py"
MOMENTS = "etab/heads/masks/moments.py"
_ONCE = "tests/runs/test_cells_beside.py::test_runs_of_one_plan_make_fits_beside_others_once"


def _fault(name: str, file: str, old: str, new: str, *tests: str) -> Fault:
    where = "tests/heads/test_mask_logistic.py"
    return Fault(name, file, old, new, tuple(f"{where}::test_{test}" for test in tests))


FAULTS = [
    _fault(
        "the likelihood penalises raw weights",
        SOLVER,
        "slope[:-1] += penalties * point[:-1]",
        "slope[:-1] += penalties * self.coordinates.raw(point, which)[0]",
        "fits_are_those_of_scikit_learn",
    ),
    _fault(
        "the likelihood penalises the intercept",
        SOLVER,
        "slope[:-1] += penalties * point[:-1]",
        "slope += penalties * point",
        "the_intercept_is_not_penalised",
    ),
    _fault(
        "all rows train every likelihood",
        SOLVER,
        "np.array([k in p.parts for p in problems])",
        "np.array([True for p in problems])",
        "fits_are_those_of_scikit_learn",
    ),
    _fault(
        "fits that run together get the slopes of the first",
        PASSES,
        "fits.first += slopes[:, start : start + fits.count]",
        "fits.first += slopes[:, : fits.count]",
        "requests_share_a_pass_and_keep_their_sums",
    ),
    _fault(
        "a structure takes the fits of another",
        HEAD,
        "        digest.update(np.ascontiguousarray(y).tobytes())\n",
        "",
        "a_structure_fitted_beside_another_is_as_it_is_alone",
    ),
    _fault(
        "structures are fitted one after another",
        HEAD,
        "        for answers in memo.beside if isinstance(memo, Memo) else ():\n",
        "        for answers in ():\n",
        "a_structure_fitted_beside_another_is_as_it_is_alone",
    ),
    _fault(
        "the first of several structures carries the time of all",
        HEAD,
        "            memo.share_time(mine, list(missing), time.perf_counter() - began)\n",
        "            pass\n",
        "a_structure_fitted_beside_another_is_as_it_is_alone",
    ),
    Fault(
        "the record of a cell has the time of the cells that are fitted beside it",
        "etab/runs/cell.py",
        " - work.memo.seconds_beside, 3)",
        ", 3)",
        ("tests/runs/test_cells_beside.py::test_each_cell_records_its_share_of_the_time",),
    ),
    Fault(
        "fits that another run makes are made again",
        "etab/runs/execute.py",
        "                if fits.take(run) and held.enter_context(claim):\n",
        "                if held.enter_context(claim):\n",
        (_ONCE,),
    ),
    Fault(
        "fits of cells beside are not claimed",
        "etab/runs/fit_claims.py",
        "[other for other in alike if self.take(other)]",
        "alike",
        (_ONCE,),
    ),
    _fault(
        "passes of fits are no progress",
        PASSES,
        "        progressed()\n",
        "",
        "each_pass_is_progress",
    ),
    _fault(
        "fits of other parts are taken for those of these parts",
        HEAD,
        "        digest.update(np.asarray(parts, dtype=np.int64).tobytes())\n",
        "",
        "a_structure_fitted_beside_another_is_as_it_is_alone",
    ),
    Fault(
        "a cell fails for one that is fitted beside it",
        "etab/runs/cell.py",
        "        if not self.memo.beside:\n            return fitted()\n",
        "        return fitted()\n",
        ("tests/runs/test_cells_beside.py::test_a_cell_does_not_fail_for_one_beside_it",),
    ),
    _fault(
        "the start is calibrated on all rows",
        SOLVER,
        "        rows = _rows(design, problem.parts)\n        scores",
        "        rows = np.arange(len(y))\n        scores",
        "rows_outside_the_training_set_change_nothing",
    ),
    _fault(
        "the likelihood of one class runs away",
        SOLVER,
        "    if _CONSTANT < rate < 1 - _CONSTANT:\n",
        "    if True:\n",
        "a_training_set_of_one_class_gives_a_constant",
    ),
    _fault(
        "a constant channel gets a weight",
        SOLVER,
        "        deviation[constant_channels(mean, deviation)] = np.inf\n",
        "",
        "a_constant_channel_gets_no_weight",
    ),
    _fault(
        "steps that climb are taken",
        MINIMISER,
        "good = trial_value <= enough",
        "good = trial_value <= np.inf",
        "the_gap_bounds_what_is_left",
        "minimise_takes_no_step_that_climbs",
    ),
    _fault(
        "the strongest penalty is taken",
        HEAD,
        "best = min(of_split, key=lambda i: of_split[i])",
        "best = min(of_split)",
        "penalty_and_threshold_are_chosen_and_recorded",
    ),
    _fault(
        "the likelihood chooses by its training rows",
        HEAD,
        "self._losses([fitted[p] for p in path], split.inner[0])",
        "self._losses([fitted[p] for p in path], without(split.train, split.inner[0]))",
        "choices_are_made_on_the_first_inner_part",
    ),
    _fault(
        "masks are cut at a probability of log odds",
        HEAD,
        "masks[i].shape, cut.level,",
        "masks[i].shape, scipy.special.expit(cut.level),",
        "log_odds_are_cut_at_the_chosen_probability",
    ),
    _fault(
        "a level is chosen by the Dice of masks in pieces",
        PROBE,
        "(_of_largest(inside, true), of_whole)",
        "(of_whole, of_whole)",
        "the_cut_is_chosen_on_masks_as_they_are_predicted",
    ),
    _fault(
        "the search along the penalties stops at its first three",
        HEAD,
        "wanted[k] = _neighbours(losses[k], len(self.head.penalties))",
        "wanted[k] = []",
        "choices_are_made_on_the_first_inner_part",
    ),
    _fault(
        "a constant channel disturbs least squares",
        MOMENTS,
        "            deviation[constant] = np.inf\n",
        "",
        "a_constant_channel_changes_no_least_squares",
    ),
    _fault(
        "each structure makes the moments again",
        PROBE,
        "    if key not in designs_of:\n",
        "    if True:\n",
        "structures_and_repeats_share_their_moments",
    ),
    _fault(
        "designs are kept without a limit",
        PROBE,
        "        if sum(sizes) + max(sizes) <= DESIGN_BYTES:\n",
        "        if True:\n",
        "designs_keep_to_their_memory",
    ),
]
