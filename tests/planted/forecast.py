"""Faults of the forecast of a plan."""

from tests.faults import Fault

_TESTS = ("tests/runs/test_forecast.py::test_a_plan_knows_what_is_done_and_what_the_rest_takes",)
_FILE = "etab/runs/forecast.py"

FAULTS = [
    Fault(
        "features in the cache are planned again",
        _FILE,
        "sum(n for n in rows if n not in stored)",
        "sum(rows)",
        _TESTS,
    ),
    Fault(
        "cells that were given up are planned",
        _FILE,
        "record is not None and record.is_given_up",
        "False",
        _TESTS,
    ),
    Fault(
        "a row of maps takes single precision",
        _FILE,
        "sizes = [2.0 *",
        "sizes = [4.0 *",
        _TESTS,
    ),
    Fault(
        "claims of a plan are not seen",
        _FILE,
        "            at_work += holder is not None and not holder.is_dead()\n",
        "            at_work += 0\n",
        _TESTS,
    ),
]
