"""The commands ``etab submit``: check results before they are handed in."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from etab.leaderboard.admission.submission import Submission

app = typer.Typer(no_args_is_help=True, help="Check results before you submit them.")


@app.command("check")
def check(
    folder: Annotated[Path, typer.Argument(help="Folder of results that `etab run` wrote.")],
    suite: Annotated[
        str, typer.Option(help="Name of a packaged suite, or a .toml file.")
    ] = "camus",
    protocol: Annotated[
        str | None, typer.Option(help="Protocol of the results. The default is cv5x5.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the results.")] = 0,
    root: Annotated[
        Path | None,
        typer.Option(help="Folder of the data, to also compute Dice and distances from the masks."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Say whether the published board would accept a folder, and why not.

    The folder is only read. The exit status is 0 for a folder that is accepted, and 1 otherwise.
    """
    from etab.cli.words import protocol_in_results
    from etab.leaderboard.admission.submission import check_submission
    from etab.leaderboard.suites import suite_named
    from etab.tasks.codes import BOARD_PROTOCOL

    wanted = protocol_in_results(protocol) or BOARD_PROTOCOL
    submission = check_submission(folder, suite_named(suite), protocol=wanted, seed=seed)
    if root is not None:
        from etab.runs.remeasure import remeasured

        findings = remeasured(submission.results, folder, root)
        submission = replace(submission, refused=(*submission.refused, *findings))
    text = _as_json(submission) if as_json else _in_words(submission)
    sys.stdout.write(text.encode("utf-8", "backslashreplace").decode() + "\n")
    raise typer.Exit(0 if submission.accepted else 1)


@app.command("schema")
def schema() -> None:
    """Print the JSON Schema of a result file."""
    from etab.leaderboard.admission.schema import result_schema

    sys.stdout.write(json.dumps(result_schema(), indent=1) + "\n")


def _in_words(submission: Submission) -> str:
    from etab.leaderboard.admission.findings import remarks_by_backbone
    from etab.storage.text import printable

    lines = [f"{name}: every task of the suite is there" for name in submission.complete]
    lines += [
        f"{name}: no result for {', '.join(codes)}" for name, codes in submission.missing.items()
    ]
    lines += [
        f"{name}: cannot have {', '.join(codes)}, and gets no rank"
        for name, codes in submission.lacking.items()
    ]
    lines += [f"refused: {finding}" for finding in submission.refused]
    lines += [f"to be looked at: {text}" for text in remarks_by_backbone(submission.flagged)]
    lines.append(f"{submission.folder}: {_conclusion(submission)}")
    return "\n".join(printable(line) for line in lines)


def _conclusion(submission: Submission) -> str:
    if submission.accepted:
        return "accepted"
    if submission.refused:
        return "not accepted; correct what is refused above and check again"
    if submission.missing:
        return "not accepted; run the missing tasks and check again"
    return "not accepted; there is no result that could be shown"


def _as_json(submission: Submission) -> str:
    findings = [
        {
            "verdict": finding.verdict.value,
            "path": str(finding.path),
            "task": finding.task,
            "backbone": finding.backbone,
            "reason": finding.reason,
        }
        for finding in (*submission.refused, *submission.flagged)
    ]
    content = {
        "accepted": submission.accepted,
        "complete": list(submission.complete),
        "missing": {name: list(codes) for name, codes in submission.missing.items()},
        "lacking": {name: list(codes) for name, codes in submission.lacking.items()},
        "findings": findings,
    }
    return json.dumps(content, indent=1)
