"""Faults of logistic regressions that are solved to the last digits."""

from tests.faults import Fault

SOLVER = "etab/heads/pooled/kernel_logistic.py"
SEARCH = "etab/heads/pooled/kernel_search.py"
TESTS = "tests/heads/test_exact_logistic.py"

FAULTS = [
    Fault(
        "a fit counts rows outside its training set",
        SOLVER,
        "errors = (fits.y - p) * fits.counted",
        "errors = fits.y - p",
        (f"{TESTS}::test_logits_are_scikit_learns",),
    ),
    Fault(
        "a step follows rounding errors",
        SOLVER,
        "(curvature > smallest) & (length > smallest)",
        "curvature > smallest",
        (f"{TESTS}::test_systems_in_single_precision_lead_to_the_same_fit",),
    ),
    Fault(
        "a bad start is kept",
        SOLVER,
        "is_worse = losses > of_nothing",
        "is_worse = losses < -1",
        (f"{TESTS}::test_a_bad_start_gives_the_same_fit",),
    ),
    Fault(
        "systems in single precision are kept where they lead nowhere",
        SOLVER,
        "if rough is not None and not",
        "if False and not",
        (f"{TESTS}::test_systems_in_single_precision_lead_to_the_same_fit",),
    ),
    Fault(
        "the search ends at its first penalty",
        SEARCH,
        "_WORSE = 1.02",
        "_WORSE = 0.0",
        (f"{TESTS}::test_the_head_chooses_and_fits_as_a_loop_over_scikit_learn",),
    ),
    Fault(
        "the final fit is that of the search",
        SEARCH,
        "solution = solve(fits, near.double(fits.products), FINAL, rough=self.products)",
        "solution = near.double(fits.products)",
        (f"{TESTS}::test_the_head_chooses_and_fits_as_a_loop_over_scikit_learn",),
    ),
    Fault(
        "fits that hardly curve are not left to the steps",
        "etab/heads/pooled/solved_logistic.py",
        "_LEAST_CURVATURE = 0.2",
        "_LEAST_CURVATURE = 0.0",
        ("tests/heads/test_logistic.py::test_penalties_are_those_that_the_steps_choose",),
    ),
    Fault(
        "rows left out keep their share of their own predictions",
        "etab/heads/pooled/left_out.py",
        "residuals / (1 - own)",
        "residuals",
        ("tests/heads/test_left_out.py::test_predictions_are_of_fits_without_the_patient",),
    ),
    Fault(
        "rows of a patient are left out one by one",
        "etab/heads/pooled/left_out.py",
        "if len(of_group) > 1",
        "if len(of_group) > 99",
        ("tests/heads/test_left_out.py::test_predictions_are_of_fits_without_the_patient",),
    ),
]
