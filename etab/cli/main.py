"""The ``etab`` command. Every sub-command only calls what can be called from Python as well."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from etab.cli import challenge as cli_challenge
from etab.cli import convert as cli_convert
from etab.cli import evaluate as cli_evaluate
from etab.cli import finetune as cli_finetune
from etab.cli import reproduce as cli_reproduce
from etab.cli import rescore as cli_rescore
from etab.cli import results as cli_results
from etab.cli import submit as cli_submit
from etab.cli.options import DeviceOption, JsonOption, RootOption, SkipBadOption
from etab.errors import EtabError, UnknownNameError

if TYPE_CHECKING:
    from etab.leaderboard.board import Board

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="The cardiac representation benchmark: how well does a pretrained encoder represent the "
    "heart?",
)
data_app = typer.Typer(no_args_is_help=True, help="Make phantom data, or check a folder of data.")
app.add_typer(data_app, name="data")
new_app = typer.Typer(
    no_args_is_help=True,
    help="Write the files of a new dataset.",
)
app.add_typer(new_app, name="new")
app.add_typer(cli_evaluate.app, name="evaluate")
app.add_typer(cli_challenge.app, name="challenge")
app.add_typer(cli_submit.app, name="submit")
app.command("convert")(cli_convert.convert)
app.command("reproduce")(cli_reproduce.reproduce)
app.command("finetune")(cli_finetune.finetune)
app.command("rescore")(cli_rescore.rescore_command)
app.command("results")(cli_results.results_command)


def main() -> None:
    """Run the command.

    An error that etab raises on purpose is printed as a message and ends with exit status 2. Ctrl-C
    ends with 130.
    """
    try:
        code = app(standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except EtabError as error:
        _say(f"etab: {error}", error=True)
        code = 2
    except Exception as error:
        # Errors of usage (an unknown option, a missing argument) come from typer and click.
        if not hasattr(error, "format_message"):
            raise
        _say(f"etab: {error.format_message()}", error=True)
        code = 2
    if code == 130:  # typer reports Ctrl-C by this status too
        _say(
            "Stopped. Every finished cell is saved; the same command goes on from there.",
            error=True,
        )
    sys.exit(code if isinstance(code, int) else 0)


def _say(text: str, *, error: bool = False) -> None:
    stream = sys.stderr if error else sys.stdout
    # Names come from files; a lone surrogate in one cannot be printed as it is.
    stream.write(text.encode("utf-8", "backslashreplace").decode() + "\n")


def _words(text: str | None) -> list[str] | None:
    """Split words at commas; None where there is no text."""
    if not text:
        return None
    return [word.strip() for word in text.split(",") if word.strip()]


def _weights(pairs: list[str]) -> dict[str, float]:
    """Read options of the form NAME=WEIGHT."""
    weights: dict[str, float] = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        try:
            weights[name] = float(value)
        except ValueError:
            raise UnknownNameError(
                f"{pair!r} is not NAME=WEIGHT, for instance a=2 or a0-A4-C=0.5."
            ) from None
    return weights


@app.command("version")
def version_command() -> None:
    """Print the version."""
    from etab import __version__

    _say(__version__)


@app.command("list")
def list_things(
    what: Annotated[
        str,
        typer.Argument(
            help="What to list: datasets, targets, views, backbones, video, heads, metrics, tasks "
            "or cross."
        ),
    ],
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print Markdown, as in the documentation.")
    ] = False,
) -> None:
    """List datasets, backbones, heads, metrics, tasks and more."""
    from etab.cli.listing import TABLES

    table = TABLES[what]()
    if markdown:
        _say(table.markdown())
        return
    from etab.cli import show

    show.table(table.title, table.header, table.rows)


@data_app.command("phantom")
def data_phantom(
    folder: Annotated[
        Path,
        typer.Argument(
            help="Where to write a folder for each dataset. Set ETAB_DATA to it afterwards."
        ),
    ],
    patients: Annotated[
        int, typer.Option(min=10, help="Number of phantom patients in each dataset.")
    ] = 60,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the phantom patients.")] = 0,
    data: Annotated[
        str, typer.Option(help="Datasets, separated by commas, or 'all'.")
    ] = "camus,echonet",
) -> None:
    """Write phantom patients in the published layouts of CAMUS, EchoNet-Dynamic and others."""
    from etab import phantom
    from etab.cli import show

    with show.bar("phantom patients") as progress:
        names = phantom.NAMES if data == "all" else _words(data) or []
        phantom.write(folder, patients=patients, seed=seed, progress=progress, names=names)
    _say(f"{patients} phantom patients in {folder}. Use them with: export ETAB_DATA={folder}")


@data_app.command("check")
def data_check(
    name: Annotated[str, typer.Argument(help="Name of the dataset: camus, echonet, tmed, ...")],
    root: RootOption = None,
    as_json: JsonOption = False,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", help="Check tables and names only; read no frames and compute no checksums."
        ),
    ] = False,
) -> None:
    """Check a folder of data for missing, damaged, altered and duplicated files.

    Splits that leak and counts that differ from the published ones are reported too. The exit
    status is 1 where anything is wrong.
    """
    from etab.cli import show
    from etab.datasets.integrity import check

    with show.bar(f"{name} recordings") as progress:
        report = check.check(name, root, progress=progress, quick=quick)
    _say(json.dumps(report.as_dict(), indent=2) if as_json else report.render())
    raise typer.Exit(0 if report.ok else 1)


@new_app.command("dataset")
def new_dataset_command(
    name: Annotated[str, typer.Argument(help="Name in lower case, as in `etab run --tasks NAME`.")],
    to: Annotated[
        Path, typer.Option(help="Where to write: a checkout of the project, or any other folder.")
    ] = Path(),
    title: Annotated[
        str, typer.Option(help="Name of the dataset in words, as its authors give it.")
    ] = "",
    letter: Annotated[str, typer.Option(help="Letter of the dataset in task codes.")] = "X",
) -> None:
    """Write a reader, a phantom and a test for a new dataset.

    The test passes as written; edit the files from there.
    """
    from etab.cli.scaffold import new_dataset

    written = new_dataset(name, to, title=title, letter=letter)
    files = [f"  {path}" for path in written.files]
    steps = [f"  {step}" for step in written.steps]
    _say("\n".join(["Written:", *files, "Next:", *steps]))


@app.command("run")
def run_command(
    tasks: Annotated[
        str | None,
        typer.Option(
            help="Task codes (b0-A4-E>C is a cross-dataset cell), prefixes of codes, or datasets, "
            "separated by commas. [default: camus]"
        ),
    ] = None,
    backbones: Annotated[
        str,
        typer.Option(
            help="Names, separated by commas. 'all' means all named backbones, their random twins "
            "and the controls."
        ),
    ] = "all",
    protocol: Annotated[
        str | None,
        typer.Option(
            help="official, cv or lodo, separated by commas. [default: the protocols of each task]"
        ),
    ] = None,
    n_fold: Annotated[
        int, typer.Option(min=2, max=50, help="Number of folds of cross-validation.")
    ] = 5,
    fractions: Annotated[
        str | None, typer.Option(help="Train on these percentages of the patients: 2,5,10,100.")
    ] = None,
    shots: Annotated[
        str | None, typer.Option(help="Train on so many patients of each class: 2,5,10.")
    ] = None,
    draws: Annotated[
        int | None,
        typer.Option(min=1, help="Number of random draws of these patients. [default: 3]"),
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(
            help="Heads to use instead of those of the tasks, separated by commas. Each is used "
            "for the tasks it can predict."
        ),
    ] = None,
    aggregate: Annotated[
        str | None,
        typer.Option(
            help="How to aggregate the rows of a recording or patient, instead of the rule of the "
            "task."
        ),
    ] = None,
    decide: Annotated[
        str | None,
        typer.Option(
            help="How scores become classes: metric (the rule that is best on training folds, as "
            "on the boards) or balanced (as balanced "
            "classes decide)."
        ),
    ] = None,
    root: RootOption = None,
    results: Annotated[Path, typer.Option(help="Folder for the result files.")] = Path("results"),
    cache: Annotated[
        Path | None,
        typer.Option(help="Folder for cached features. [default: ETAB_CACHE or ~/.cache/etab]"),
    ] = None,
    workers: Annotated[
        int, typer.Option(min=0, help="Number of processes; 0 means one for each core.")
    ] = 0,
    device: DeviceOption = "cpu",
    precision: Annotated[
        str, typer.Option(help="Precision of the backbone: auto, fp32 or bf16.")
    ] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the folds and draws.")] = 0,
    skip_bad: SkipBadOption = False,
) -> None:
    """Compute all results that are not there yet.

    There is one result for each task, backbone and protocol. A run that was stopped goes on where
    it was.
    """
    from etab.cli import show
    from etab.cli.doctor import default_cache
    from etab.runs.data import lacking, tasks_at
    from etab.runs.run import Settings, plan
    from etab.runs.sweep import backbone_names, sweep

    codes = tasks_at(_words(tasks), root)
    names = backbone_names(_words(backbones) or [], codes)
    protocols = _protocols(_words(protocol), codes, n_fold, fractions, shots, draws)
    runs = plan(
        codes,
        names,
        protocols=protocols,
        head=_words(head),
        seed=seed,
        n_fold=n_fold,
        aggregate=aggregate,
        decide=decide,
    )
    settings = Settings(
        root=root,
        results=results,
        cache=cache or default_cache(),
        device=device,
        precision=precision,
        skip_bad=skip_bad,
    )
    done = sweep(runs, settings, workers=workers, watch=show.watch)
    for message in lacking([run.row.dataset for run in runs], root):
        typer.echo(message, err=True)
    _say(done.said())
    raise typer.Exit(1 if done.failures else 0)


def _protocols(
    words: list[str] | None,
    codes: list[str],
    n_fold: int,
    fractions: str | None,
    shots: str | None,
    draws: int | None,
) -> list[str] | None:
    """The protocols to run, with few labelled patients where --fractions or --shots are given."""
    from etab.errors import UnsupportedOptionError
    from etab.tasks.menu import TASKS
    from etab.tasks.protocols import drawn, parse

    of_tasks = dict.fromkeys(name for code in codes for name in TASKS[code].protocols)
    bases = words or list(of_tasks)
    if fractions is None and shots is None:
        if draws is not None:
            raise UnsupportedOptionError(
                "--draws counts draws of --fractions or --shots; give one of these too."
            )
        return words
    numbers: list[list[float]] = []
    for option, text in (("--fractions", fractions), ("--shots", shots)):
        try:
            numbers.append([float(word) for word in _words(text) or []])
        except ValueError:
            raise UnsupportedOptionError(
                f"{option} {text!r} is not a list of numbers such as 2,5,10."
            ) from None
    return drawn(
        [parse(base, n_fold).name for base in bases],
        numbers[0],
        numbers[1],
        3 if draws is None else draws,
    )


@app.command("leaderboard")
def leaderboard_command(
    results: Annotated[Path, typer.Argument(help="Folder of results.")] = Path("results"),
    suite: Annotated[
        str, typer.Option(help="Name of a packaged suite, or a .toml file.")
    ] = "camus",
    protocol: Annotated[
        str, typer.Option(help="Protocol of the results: official, cv5, ...")
    ] = "cv5",
    markdown: Annotated[Path | None, typer.Option(help="Write Markdown to this file.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Write CSV to this file.")] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write a self-contained HTML page to this file.")
    ] = None,
    task_weight: Annotated[
        list[str], typer.Option(help="CODE=WEIGHT of a task; may be given several times.")
    ] = [],  # noqa: B006
    category_weight: Annotated[
        list[str], typer.Option(help="LETTER=WEIGHT of a category; may be given several times.")
    ] = [],  # noqa: B006
    seed: Annotated[int, typer.Option(min=0, help="Seed of the results and resamples.")] = 0,
) -> None:
    """Rank the backbones whose results are in a folder.

    A damaged result file is set aside, and the board says which one and why.
    """
    from etab.cli import show
    from etab.leaderboard.ranking import rank_folder

    board = rank_folder(
        results,
        suite,
        protocol=protocol,
        seed=seed,
        task_weights=_weights(task_weight),
        category_weights=_weights(category_weight),
    )
    show.board(board)
    _write(board, markdown, csv, html)


def _write(board: Board, markdown: Path | None, csv: Path | None, html: Path | None) -> None:
    from etab import datasets
    from etab.leaderboard.page import board_page
    from etab.leaderboard.render import board_csv, board_markdown
    from etab.storage.atomic import write_atomically

    cards = datasets.cards()
    if markdown is not None:
        write_atomically(markdown, board_markdown(board, cards))
        _say(f"wrote {markdown}")
    if csv is not None:
        write_atomically(csv, board_csv(board))
        _say(f"wrote {csv}")
    if html is not None:
        write_atomically(html, board_page(board, cards))
        _say(f"wrote {html}")


@app.command("curve")
def curve_command(
    results: Annotated[
        Path, typer.Argument(help="Folder of results computed with --fractions or --shots.")
    ] = Path("results"),
    picture: Annotated[
        Path | None, typer.Option(help="Draw the curves to this file: .png, .svg or .pdf.")
    ] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write Markdown to this file.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Write CSV to this file.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the resamples of patients.")] = 0,
) -> None:
    """Show how values grow with the number of labelled patients."""
    from etab.cli import show
    from etab.leaderboard import curves
    from etab.leaderboard.curves_plot import draw_curves
    from etab.storage.atomic import write_atomically

    points = curves.curve_points(results, seed=seed)
    show.table(
        "label efficiency",
        ("task", "backbone", "labels", "draws", "value", "95 %"),
        [
            (
                point.task,
                point.backbone,
                point.labels,
                str(point.draws),
                f"{point.metric} {point.value:.3f}",
                f"{point.low:.3f} to {point.high:.3f}",
            )
            for point in points
        ],
    )
    if picture is not None:
        _say(f"wrote {draw_curves(points, picture)}")
    if markdown is not None:
        link = ""
        if picture is not None:
            link = Path(os.path.relpath(picture, markdown.parent)).as_posix()
        write_atomically(markdown, curves.curves_markdown(points, picture=link))
        _say(f"wrote {markdown}")
    if csv is not None:
        write_atomically(csv, curves.curves_csv(points))
        _say(f"wrote {csv}")


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
    its random twin and the controls, and they are ranked on a page.
    """
    from etab.cli import show
    from etab.runs.sweep import demo

    outcome: Any = demo(
        folder, patients=patients, seed=seed, workers=workers, watch=show.watch, bar=show.bar
    )
    show.board(outcome.board)
    _say(
        f"The page: {outcome.page}\n"
        "Next, run it on real data: etab run --root <your CAMUS folder> && etab leaderboard"
    )
