"""The ``etab`` command. Every sub-command only calls what can be called from Python as well."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from etab.cli import boards as cli_boards
from etab.cli import cache as cli_cache
from etab.cli import challenge as cli_challenge
from etab.cli import check as cli_check
from etab.cli import convert as cli_convert
from etab.cli import curve as cli_curve
from etab.cli import data as cli_data
from etab.cli import evaluate as cli_evaluate
from etab.cli import finetune as cli_finetune
from etab.cli import lists as cli_lists
from etab.cli import plan as cli_plan
from etab.cli import reproduce as cli_reproduce
from etab.cli import rescore as cli_rescore
from etab.cli import results as cli_results
from etab.cli import run as cli_run
from etab.cli import status as cli_status
from etab.cli import submit as cli_submit
from etab.cli import vectors as cli_vectors
from etab.cli.words import say
from etab.errors import EtabError, EtabWarning
from etab.runs.failures import TerminatedError, describe_failure
from etab.storage.atomic import REFUSED_BY_DISK
from etab.storage.machine import name_crashes, stop_signals

if TYPE_CHECKING:
    from etab.runs.earlier_process import EarlierProcess

_ORDER = (
    *("demo", "doctor", "list", "data", "check", "vectors"),  # look around and prepare
    *("plan", "run", "finetune", "status", "cache"),  # compute
    *("results", "leaderboard", "curve"),  # look at what came out
    *("rescore", "reproduce", "submit"),  # check results
    *("evaluate", "challenge", "convert", "new", "version"),
)
"""The commands in the order in which a new user needs them; ``etab --help`` lists them so."""


class _Commands(TyperGroup):
    """The commands of ``etab`` in the order of ``_ORDER``."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 (click passes it)
        """Return the names of all commands, as ``etab --help`` lists them."""
        return sorted(self.commands, key=_ORDER.index)


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="The cardiac representation benchmark: how well does a pretrained encoder represent the "
    "heart?",
)
new_app = typer.Typer(
    no_args_is_help=True,
    help="Write the files of a new dataset.",
)
app.add_typer(cli_data.app, name="data")
app.add_typer(new_app, name="new")
app.add_typer(cli_check.app, name="check")
app.add_typer(cli_evaluate.app, name="evaluate")
app.add_typer(cli_challenge.app, name="challenge")
app.add_typer(cli_submit.app, name="submit")
app.add_typer(cli_vectors.app, name="vectors")
app.command("convert", short_help="Write weights as safetensors, checked against a network.")(
    cli_convert.convert
)
app.command("reproduce", short_help="Compute a result again and compare the numbers.")(
    cli_reproduce.reproduce
)
app.command("finetune")(cli_finetune.finetune)
app.command("rescore", short_help="Recompute every metric and interval from predictions.")(
    cli_rescore.rescore_command
)
app.command("run")(cli_run.run_command)
app.command("plan", short_help="Show what a run would compute, and what it takes.")(
    cli_plan.plan_command
)
app.command("status", short_help="Show which cells are finished, in progress or failed.")(
    cli_status.status_command
)
app.command("list")(cli_lists.list_command)
app.command("cache")(cli_cache.cache_command)
app.command("results", short_help="List the results of a folder, with read-outs.")(
    cli_results.results_command
)
app.command("leaderboard", short_help="Rank the backbones of a results folder.")(
    cli_boards.leaderboard_command
)
app.command("curve")(cli_curve.curve_command)


def main(earlier: EarlierProcess | None = None) -> None:
    """Run the command.

    Args:
        earlier: The process of the same command before this one, which was ended in the middle of
            it; ``etab run`` goes on without the cells that ended it.

    An error that etab raises on purpose is printed as a message and ends with exit status 2. Ctrl-C
    ends with 130, the signal SIGTERM with 143, and a terminal that closes (SIGHUP) with 129.
    """
    name_crashes()
    try:
        with _handled_signals(), _plain_warnings():
            code = app(standalone_mode=False, obj=earlier, prog_name="etab")
        _flush()
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except BrokenPipeError:
        if not _has_lost_reader():
            raise  # the other end was a process of etab
        _drop_output()
        code = _NO_READER
    except SystemExit as end:
        # rich and typer raise this when the program that reads the output has ended.
        if isinstance(end.__context__, BrokenPipeError):
            _drop_output()
            code = _NO_READER
        else:
            say(f"etab: {describe_failure(end)}", error=True)
            code = 2
    except EtabError as error:
        say(f"etab: {error}", error=True)
        code = 2
    except OSError as error:
        if error.errno not in REFUSED_BY_DISK:
            raise
        say(f"etab: {_refused(error)}", error=True)
        code = 2
    except Exception as error:
        # Errors of usage (an unknown option, a missing argument) come from typer and click.
        message = getattr(error, "format_message", None)
        if message is None:
            raise
        if type(error).__name__ == "NoArgsIsHelpError":
            say(message())
        else:
            said = message()
            stop = "" if said.endswith((".", "?", "!")) else "."
            say(f"etab: {said}{stop}{_usage_of(error)}", error=True)
        code = 2
    if code == 130:  # typer reports Ctrl-C by it, too
        asked = [number for number in _ASKED if number != signal.SIGINT]
        code = 128 + (asked or [signal.SIGINT])[0]
        say(
            "Stopped. Finished work is saved; run the same command to continue.",
            error=True,
        )
    sys.exit(code if isinstance(code, int) else 0)


_NO_READER = 128 + 13
"""Exit status after SIGPIPE: the program that read the output, such as head, has ended."""


def _has_lost_reader() -> bool:
    """Whether standard output or standard error is a pipe without a reader."""
    watched = select.poll()
    for number in (1, 2):
        watched.register(number, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in watched.poll(0))


def _flush() -> None:
    """Flush standard output."""
    if sys.stdout is not None and not sys.stdout.closed:
        sys.stdout.flush()


def _drop_output() -> None:
    """Discard further output, which Python would fail to flush at its end."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _usage_of(error: Exception) -> str:
    """A sentence that names the help of a command, for errors in its options."""
    context = getattr(error, "ctx", None)
    return "" if context is None else f" `{context.command_path} --help` shows the usage."


def _refused(error: OSError) -> str:
    """Say that a disk or a folder refused, of whatever file."""
    name = error.filename2 or error.filename or "A file"
    return (
        f"{name} could not be read or written: {error.strerror}. Nothing that was finished is "
        "lost; free some space, check the folder and its permissions, or name another one."
    )


@contextlib.contextmanager
def _plain_warnings() -> Iterator[None]:
    """Print each warning of etab once, as a sentence and without a line of code."""
    shown: set[str] = set()
    before = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *more: Any, **named: Any) -> None:
        text = str(message)
        if not issubclass(category, EtabWarning):
            before(message, category, *more, **named)
        elif text not in shown:
            shown.add(text)
            say(f"etab: warning: {text}", error=True)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = before


REPEATED = 1.0
"""Seconds within which the same signal is the same request: it may come from several processes."""

_ASKED: dict[int, float] = {}  # when this process was asked to stop, by the numbers of signals
_TERMINALS: list[int] = []  # numbers of the outputs that were terminals at the start


@contextlib.contextmanager
def _handled_signals() -> Iterator[None]:
    """Stop at SIGTERM, Ctrl-C and the end of the terminal inside the block, and release claims."""
    before: dict[int, Any] = {}
    _TERMINALS[:] = [number for number in (1, 2) if os.isatty(number)]
    with contextlib.suppress(ValueError):  # outside the main thread no signal can be caught
        for number in stop_signals():
            handler = _interrupt if number == signal.SIGINT else _end
            before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, _: Any) -> None:
    """Stop at Ctrl-C. Code that raises KeyboardInterrupt by itself is not taken for it."""
    if not _is_repeated(number):
        raise TerminatedError


def _end(number: int, _: Any) -> None:
    """Stop as Ctrl-C does; a second request ends the process at once."""
    is_second = number in _ASKED
    if _is_repeated(number):
        return
    _leave_lost_terminal()
    if is_second:
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
    raise TerminatedError


def _leave_lost_terminal() -> None:
    """Discard further output to a terminal that has closed: writing to it is an error."""
    for number in _TERMINALS:
        if not os.isatty(number):
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)


def _is_repeated(number: int) -> bool:
    """Whether a signal came just before, as from a parent or a cluster that signals every process."""
    now = time.monotonic()
    before = _ASKED.get(number)
    _ASKED[number] = now
    return before is not None and now - before < REPEATED


def _print_version(wanted: bool) -> None:
    if wanted:
        version_command()
        raise typer.Exit()


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", is_eager=True, callback=_print_version
        ),
    ] = False,
) -> None:
    """Options of the command itself."""


@app.command("version")
def version_command() -> None:
    """Print the version."""
    from etab import __version__

    say(__version__)


@new_app.command("dataset")
def new_dataset_command(
    name: Annotated[
        str, typer.Argument(help="Name, in lower case, as in `etab run --tasks NAME`.")
    ],
    to: Annotated[
        Path,
        typer.Option(
            help="Where to write the files: a checkout of the project, or any other folder."
        ),
    ] = Path(),
    title: Annotated[str, typer.Option(help="Title of the dataset, as its authors write it.")] = "",
    letter: Annotated[str, typer.Option(help="Letter of the dataset in task codes.")] = "Y",
) -> None:
    """Write a reader, a phantom and a test for a new dataset, in the project or elsewhere.

    The test passes as written; edit the files from there. Recordings of your own need no reader:
    `etab data init FOLDER` describes them in a table, and `etab run --data` runs it.
    """
    from etab.cli.scaffold import new_dataset

    written = new_dataset(name, to, title=title, letter=letter)
    files = [f"  {path}" for path in written.files]
    steps = [f"  {step}" for step in written.steps]
    say("\n".join(["Written:", *files, "Next:", *steps]))


@app.command("doctor")
def doctor_command() -> None:
    """Report what is installed and what is missing.

    It lists packages, device, data and weights, and says what to do next.
    """
    from etab.cli import doctor as examiner
    from etab.cli import show

    show.findings(examiner.examine())


@app.command("demo")
def demo_command(
    folder: Annotated[
        Path, typer.Argument(help="Folder for the data, the results and the page.")
    ] = Path("etab-demo"),
    patients: Annotated[int, typer.Option(min=20, help="Number of phantom patients.")] = 60,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the phantom patients.")] = 0,
    workers: Annotated[
        int, typer.Option(min=0, help="Number of processes; 0 means one for each core.")
    ] = 0,
) -> None:
    """Try everything on phantom data.

    No data are downloaded. A phantom cohort is made, every task is run with a pretrained backbone,
    its random twin and the controls, and they are ranked on a page and on a site with clips.
    """
    from etab import datasets
    from etab.cli import show
    from etab.cli.board_site import board_subgroups
    from etab.runs.sweep import demo
    from etab.site.examples import draw_examples
    from etab.site.write import write_site

    outcome: Any = demo(
        folder, patients=patients, seed=seed, workers=workers, watch=show.watch, bar=show.bar
    )
    show.board(outcome.board)
    examples = draw_examples(outcome.board, folder / "results", folder / "data")
    groups, _ = board_subgroups(outcome.board, folder / "results", folder / "data")
    write_site(
        outcome.board,
        datasets.cards(),
        folder / "site",
        examples=examples,
        subgroups=groups,
    )
    say(
        f"The page: {outcome.page}\n"
        f"The site, with clips: {folder / 'site' / 'index.html'}\n"
        "Next, run it on real data: etab run --root <your CAMUS folder> && etab leaderboard"
    )
