"""The ``etab`` command: thin; everything it does can be called from Python."""

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
from etab.errors import EtabError, UnknownNameError

if TYPE_CHECKING:
    from etab.leaderboard.board import Board

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="The cardiac representation benchmark: how good is a pretrained encoder for the heart?",
)
data_app = typer.Typer(no_args_is_help=True, help="Make phantom data, check a data folder.")
app.add_typer(data_app, name="data")
new_app = typer.Typer(
    no_args_is_help=True,
    help="Write the files of something new, which pass their tests as written.",
)
app.add_typer(new_app, name="new")
app.add_typer(cli_evaluate.app, name="evaluate")
app.add_typer(cli_challenge.app, name="challenge")
app.command("convert")(cli_convert.convert)
app.command("finetune")(cli_finetune.finetune)

Root = Annotated[
    Path | None,
    typer.Option("--root", help="The dataset's folder; else ETAB_<NAME>_DIR, ETAB_DATA, ..."),
]


def main() -> None:
    """Run the command; an error that etab raises on purpose is a message and exit status 2, Ctrl-C is 130."""
    try:
        code = app(standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except EtabError as error:
        _say(f"etab: {error}", error=True)
        code = 2
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        _say(f"etab: {error.format_message()}", error=True)
        code = 2
    if code == 130:  # also how typer hands on Ctrl-C
        _say(
            "Stopped. Every finished cell is saved; the same command goes on from there.",
            error=True,
        )
    sys.exit(code if isinstance(code, int) else 0)


def _say(text: str, *, error: bool = False) -> None:
    (sys.stderr if error else sys.stdout).write(text + "\n")


def _words(text: str | None) -> list[str] | None:
    return [w.strip() for w in text.split(",") if w.strip()] if text else None


def _weights(pairs: list[str]) -> dict[str, float]:
    """Read NAME=WEIGHT options."""
    out = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        try:
            out[name] = float(value)
        except ValueError:
            raise UnknownNameError(
                f"{pair!r} is not NAME=WEIGHT, for instance a=2 or a0-A4-C=0.5."
            ) from None
    return out


@app.command("version")
def version() -> None:
    """Print the version."""
    from etab import __version__

    _say(__version__)


@app.command("list")
def list_things(
    what: Annotated[
        str,
        typer.Argument(
            help="datasets, targets, views, backbones, video, heads, metrics, tasks or cross"
        ),
    ],
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print Markdown, as the documents hold it.")
    ] = False,
) -> None:
    """List what there is."""
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
            help="Where to write a folder for each data set; point ETAB_DATA here afterwards."
        ),
    ],
    patients: Annotated[
        int, typer.Option(min=10, help="How many made patients in each tree.")
    ] = 60,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    data: Annotated[
        str, typer.Option(help="Which data sets, with commas, or 'all'.")
    ] = "camus,echonet",
) -> None:
    """Write a cohort of made patients in the published layouts of CAMUS, EchoNet-Dynamic and others."""
    from etab import phantom
    from etab.cli import show

    with show.bar("phantom patients") as advance:
        names = phantom.NAMES if data == "all" else _words(data) or []
        phantom.write(folder, patients=patients, seed=seed, progress=advance, names=names)
    _say(f"{patients} phantom patients in {folder}. Use them with: export ETAB_DATA={folder}")


@data_app.command("check")
def data_check(
    name: Annotated[str, typer.Argument(help="camus, echonet, tmed, ...")],
    root: Root = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Tables and names alone: no frame and no checksum is read."),
    ] = False,
) -> None:
    """Check a data folder: found, missing, corrupt, altered, leaking, duplicated, published counts. Status 1 if not whole."""
    from etab.cli import show
    from etab.datasets.integrity import check

    with show.bar(f"{name} recordings") as advance:
        report = check.check(name, root, progress=advance, quick=quick)
    _say(json.dumps(report.as_dict(), indent=2) if as_json else report.render())
    raise typer.Exit(0 if report.ok else 1)


@new_app.command("dataset")
def new_dataset(
    name: Annotated[str, typer.Argument(help="Lower case, as in `etab run --tasks NAME`.")],
    to: Annotated[Path, typer.Option(help="A checkout of the project, or any folder.")] = Path(),
    title: Annotated[str, typer.Option(help="The name its authors give it.")] = "",
    letter: Annotated[str, typer.Option(help="Its letter in task codes.")] = "X",
) -> None:
    """Write a source, a made tree and a test of a new dataset."""
    from etab.cli.scaffold import new_dataset as write

    made = write(name, to, title=title, letter=letter)
    _say(
        "\n".join(
            [
                "Written:",
                *[f"  {path}" for path in made.files],
                "Next:",
                *[f"  {step}" for step in made.steps],
            ]
        )
    )


@app.command()
def run(
    tasks: Annotated[
        str | None,
        typer.Option(
            help="Codes (b0-A4-E>C is a cross-dataset cell), prefixes, datasets; with commas. Default: camus."
        ),
    ] = None,
    backbones: Annotated[
        str,
        typer.Option(
            help="Names with commas; 'all' is every named one, its random twin, and the controls."
        ),
    ] = "all",
    protocol: Annotated[
        str | None,
        typer.Option(help="official, cv, lodo, with commas. Default: the protocols of each task."),
    ] = None,
    n_fold: Annotated[int, typer.Option(min=2, max=50, help="Folds of cross-validation.")] = 5,
    fractions: Annotated[
        str | None, typer.Option(help="Train on these shares of the patients, in %: 2,5,10,100.")
    ] = None,
    shots: Annotated[
        str | None, typer.Option(help="Train on this many patients of each class: 2,5,10.")
    ] = None,
    draws: Annotated[
        int | None, typer.Option(min=1, help="Draws of each share or number. [default: 3]")
    ] = None,
    head: Annotated[
        str | None, typer.Option(help="Other heads, with commas, for the tasks they can answer.")
    ] = None,
    aggregate: Annotated[
        str | None,
        typer.Option(help="Another rule to put the rows of a recording or patient together by."),
    ] = None,
    root: Root = None,
    results: Annotated[Path, typer.Option(help="Where the result files go.")] = Path("results"),
    cache: Annotated[
        Path | None, typer.Option(help="Feature cache. Default: ETAB_CACHE or ~/.cache/etab.")
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0 is one a core.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
    precision: Annotated[str, typer.Option(help="auto, fp32 or bf16.")] = "auto",
    seed: Annotated[int, typer.Option(min=0)] = 0,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out recordings that cannot be read.")
    ] = False,
) -> None:
    """Run every cell that is not finished yet: tasks x backbones x protocols."""
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
    for said in lacking([run.row.dataset for run in runs], root):
        typer.echo(said, err=True)
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
    """The protocols asked for, or with few labelled patients; raises where an option would have nothing to act on."""
    from etab.errors import UnsupportedOptionError
    from etab.tasks.menu import TASKS
    from etab.tasks.protocols import drawn, parse

    bases = words or list(dict.fromkeys(name for code in codes for name in TASKS[code].protocols))
    if fractions is None and shots is None:
        if draws is not None:
            raise UnsupportedOptionError(
                "--draws counts draws of --fractions or --shots; give one of these too."
            )
        return words
    numbers: list[list[float]] = []
    for option, said in (("--fractions", fractions), ("--shots", shots)):
        try:
            numbers.append([float(word) for word in _words(said) or []])
        except ValueError:
            raise UnsupportedOptionError(
                f"{option} {said!r} is not a list of numbers such as 2,5,10."
            ) from None
    return drawn(
        [parse(b, n_fold).name for b in bases],
        numbers[0],
        numbers[1],
        3 if draws is None else draws,
    )


@app.command()
def leaderboard(
    results: Annotated[Path, typer.Argument(help="Folder of result files.")] = Path("results"),
    suite: Annotated[str, typer.Option(help="A packaged suite or a .toml file.")] = "camus",
    protocol: Annotated[str, typer.Option(help="official, cv5, ...")] = "cv5",
    markdown: Annotated[Path | None, typer.Option(help="Write Markdown here.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Write CSV here.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write one self-contained page here.")] = None,
    task_weight: Annotated[list[str], typer.Option(help="CODE=WEIGHT, repeatable.")] = [],  # noqa: B006
    category_weight: Annotated[list[str], typer.Option(help="LETTER=WEIGHT, repeatable.")] = [],  # noqa: B006
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Rank the backbones whose results are in a folder."""
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


@app.command()
def curve(
    results: Annotated[
        Path, typer.Argument(help="Folder of results made with --fractions or --shots.")
    ] = Path("results"),
    picture: Annotated[
        Path | None, typer.Option(help="Draw the curves here: .png, .svg or .pdf.")
    ] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write Markdown here.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Write CSV here.")] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
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


@app.command()
def doctor() -> None:
    """Say what is installed, which data and weights are found, which device there is, and what to do next."""
    from etab.cli import doctor as examiner
    from etab.cli import show

    show.findings(examiner.examine())


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(help="Where data, results and the page go.")] = Path(
        "etab-demo"
    ),
    patients: Annotated[int, typer.Option(min=20)] = 60,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    workers: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Make a phantom cohort, run every task on a pretrained backbone, its random twin and the controls, and rank them."""
    from etab.cli import show
    from etab.runs.sweep import demo as run_demo

    outcome: Any = run_demo(
        folder, patients=patients, seed=seed, workers=workers, watch=show.watch, bar=show.bar
    )
    show.board(outcome.board)
    _say(
        f"The page: {outcome.page}\nRun it on real data next: etab run --root <your CAMUS folder> && etab leaderboard"
    )
