"""The commands of `etab challenge`."""

from __future__ import annotations

import json
from pathlib import Path

from tests.challenges.entries import (
    asked,
    binary,
    entry,
    entry_2022,
    saved,
)
from tests.commands import etab


def test_commands(made: Path, tmp_path: Path, truth: dict[str, int]) -> None:
    path, data = entry(tmp_path / "e", truth), made / "cinc2016"
    done = etab("challenge", "cinc2016", path, "--data", data, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "not a sandbox" in done.stderr
    run = asked("cinc2016", path, "--data", data, "--out", tmp_path / "out", "--yes", "--json")
    assert run.exit_code == 0, run.output
    assert json.loads(run.stdout)["scores"]["official"]["score"]["macc"] == 1
    (path / "answers.txt").write_text("a0001,1\n")
    run = asked(
        "cinc2016", path, "--data", data, "--out", tmp_path / "other", "--trust", "--seconds", "30"
    )
    assert run.exit_code == 1, "answers differ"
    run = asked(
        "circor2022",
        entry_2022(tmp_path / "t"),
        "--data",
        made / "circor",
        "--out",
        tmp_path / "c",
        "--trust",
        "--n-fold",
        "2",
    )
    assert "weighted accuracy" in run.stdout, run.output
    for words, said in (
        (("cinc2016", path, "--threshold", "0.5", "--trust"), "--threshold works only with --from"),
        (("circor2022",), "Name an ENTRY to run, or a result with --from"),
        (("cinc2016", path, "--from", "x.json"), "not both"),
        (
            ("circor2022", path, "--trust", "--data", made / "circor", "--python", "pyhton"),
            "no interpreter 'pyhton'",
        ),
        (
            ("circor2022", path, "--trust", "--hold-out", path, "--n-fold", "3"),
            "--n-fold works only without --hold-out",
        ),
        (
            ("circor2022", path, "--trust", "--hold-out", path, "--seed", "3"),
            "--seed works only without --hold-out",
        ),
    ):
        assert said in str(asked(*words, "--out", tmp_path / "b").exception)


def test_commands_from_results(made: Path, tmp_path: Path, truth: dict[str, int]) -> None:
    result = saved(tmp_path / "r", "f0-PH-N", "cinc2016", binary(sorted(truth), [0.5] * len(truth)))
    words = ("cinc2016", "--from", result, "--out", tmp_path / "a", "--data", made / "cinc2016")
    run = asked(*words, "--unsure", "0.4,0.6")
    assert run.exit_code == 0, run.output
    assert "12 answered unsure" in run.stdout
    run = asked(*words, "--unsure", "0.4,0.6", "--json")
    assert json.loads(run.stdout)["answers"] == len(truth), run.output
    assert "wanted two numbers" in str(asked(*words, "--unsure", "some").exception)
    for idle in (
        ("--seconds", "9"),
        ("--setup-seconds", "9"),
        ("--memory", "99"),
        ("--disk", "99"),
        ("--trust",),
    ):
        assert f"{idle[0]} works only with an ENTRY" in str(asked(*words, *idle).exception)
    for idle in (
        ("--hold-out", "x"),
        ("--n-fold", "3"),
        ("--seed", "3"),
        ("--python", "x"),
        ("--train-seconds", "9"),
        ("--seconds", "9"),
        ("--memory", "99"),
        ("--disk", "99"),
        ("--trust",),
    ):
        said = asked("circor2022", "--from", result, "--out", tmp_path / "b", *idle).exception
        assert f"{idle[0]} works only with an ENTRY" in str(said)
    assert "names 2 results" in str(asked(*words, "--from", result).exception)
    wrong = asked("circor2022", "--from", result, "--out", tmp_path / "b").exception
    assert "wanted a result of murmur or outcome" in str(wrong)
