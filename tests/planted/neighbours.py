"""Faults of nearest rows by cosine."""

from tests.faults import Fault

NEIGHBOURS = "etab/heads/pooled/neighbours.py"
TESTS = "tests/heads/test_neighbours.py"

FAULTS = [
    Fault(
        "the rows are not centred by the training rows",
        NEIGHBOURS,
        "    products -= to_mean[train] - mean_square\n",
        "",
        (f"{TESTS}::test_cosines_are_those_of_the_features",),
    ),
    Fault(
        "rounding has a direction",
        NEIGHBOURS,
        "squares > _ROUNDING * float(np.diag(kernel).max())",
        "squares > 0",
        (f"{TESTS}::test_training_rows_at_their_mean_are_like_no_row",),
    ),
    Fault(
        "equal columns in any order",
        NEIGHBOURS,
        "is_exact = is_near.sum(axis=1) == k",
        "is_near = np.argsort(np.argsort(similarity)) >= similarity.shape[1] - k\n"
        "    is_exact = is_near.any(axis=1)",
        (f"{TESTS}::test_the_first_of_equal_columns_come_first",),
    ),
]
