"""The commands ``etab data ...``: make phantom data, or check a folder of data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from etab.cli.options import JsonOption, RootOption
from etab.cli.words import say, words

if TYPE_CHECKING:
    from etab.datasets.own.description import Description

app = typer.Typer(
    no_args_is_help=True, help="Make phantom data, describe, check or fetch datasets."
)


@app.command("phantom")
def data_phantom(
    folder: Annotated[
        Path,
        typer.Argument(
            help="Where to write one folder per dataset. Set ETAB_DATA to this folder afterwards."
        ),
    ],
    patients: Annotated[
        int, typer.Option(min=10, help="Number of phantom patients in each dataset.")
    ] = 60,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the phantom patients.")] = 0,
    data: Annotated[
        str,
        typer.Option(help="Datasets, separated by commas, or 'all', which need no extra packages."),
    ] = "camus,echonet",
) -> None:
    """Write phantom patients in the published layouts of CAMUS, EchoNet-Dynamic and others."""
    from etab import phantom
    from etab.cli import show

    names = phantom.NAMES if data == "all" else words(data) or []
    phantom.require_names(names)  # an unknown name is reported before a progress bar appears
    with show.late_bar("phantom patients") as progress:
        phantom.write(folder, patients=patients, seed=seed, progress=progress, names=names)
    more = [name for name in names if phantom.people(name, patients) > patients]
    fewest = f" ({phantom.people(more[0], patients)} in {', '.join(more)})" if more else ""
    say(
        f"{patients} phantom patients in {folder}{fewest}. Use them with: export ETAB_DATA={folder}"
    )
    if data == "all":
        say(f"Not written, because they need extra packages: --data {','.join(phantom.BY_NAME)}")


@app.command("check")
def data_check(
    name: Annotated[
        str,
        typer.Argument(
            help="Name of the dataset (camus, echonet, tmed, ...), the description of a table of "
            "your own (clinic.toml), or a Python file with a Source class (my_echo.py)."
        ),
    ],
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
    from etab import datasets
    from etab.cli import show
    from etab.datasets.integrity import check
    from etab.datasets.own.classes import is_class_file
    from etab.datasets.own.shipped import refuse_shipped_name
    from etab.tasks.own import use_installed, use_own_data

    if name.endswith(".toml"):
        _check_own(Path(name), as_json, quick)
    if is_class_file(Path(name)):
        own = use_own_data(name, root)
        name, root = own.name, own.folder
        _check_heads(own)
    use_installed([name])
    refuse_shipped_name(name)
    datasets.card(name)  # an unknown name is reported before a progress bar appears
    with show.late_bar(f"{name} recordings") as progress:
        report = check.check(name, root, progress=progress, quick=quick)
    say(json.dumps(report.as_dict(), indent=2) if as_json else report.render())
    raise typer.Exit(0 if report.ok else 1)


def _check_own(path: Path, as_json: bool, quick: bool) -> None:
    """Check a user's own table; ends the command."""
    from etab.cli import show
    from etab.datasets.own.check import check_own
    from etab.tasks.own import use_own_data

    description = use_own_data(path)
    _check_heads(description)
    with show.late_bar(f"{description.name} recordings") as progress:
        report = check_own(description, quick=quick, progress=progress)
    say(json.dumps(report.as_dict(), indent=2) if as_json else report.render())
    raise typer.Exit(0 if report.ok else 1)


def _check_heads(own: Description) -> None:
    """Refuse a head that a label names and that cannot answer it, as `etab run` does."""
    from etab import heads
    from etab.errors import EtabError
    from etab.runs.run import require_head
    from etab.tasks.menu import TASKS

    for task in [task for task in TASKS.values() if task.dataset == own.name]:
        try:
            require_head(task, heads.head(task.head))
        except EtabError as error:
            raise type(error)(f"The label {task.target} of {own.path}: {error}") from error


@app.command("init")
def data_init(
    folder: Annotated[Path, typer.Argument(help="Folder of your recordings.")],
    out: Annotated[
        Path | None,
        typer.Option(help="The description to write. [default: FOLDER/<name of the folder>.toml]"),
    ] = None,
    sound: Annotated[
        bool | None,
        typer.Option(
            "--sound/--no-sound",
            help="Which files to describe in a folder that holds both: sounds, or pictures and "
            "clips. [default: the kind with more files]",
        ),
    ] = None,
    known_as: Annotated[
        str | None,
        typer.Option(
            "--as",
            help="Use the description of a public data set that etab knows: yaseen, zchsound.",
        ),
    ] = None,
) -> None:
    """Write a first description (and table) of a folder of your own recordings.

    Nothing that exists is overwritten. Edit the two files, then run `etab data check` on the
    description.
    """
    from etab.datasets.own.draft import write_draft
    from etab.datasets.own.shipped import write_shipped
    from etab.errors import UnsupportedOptionError

    if known_as is None:
        say(write_draft(folder, out, sound=sound).render())
        return
    if sound is not None:
        raise UnsupportedOptionError(
            f"--as {known_as} knows the kind of its files; leave --sound out."
        )
    if out is not None:
        raise UnsupportedOptionError(
            f"--as {known_as} writes {folder / known_as}.toml; leave --out out."
        )
    say(write_shipped(known_as, folder).render())


@app.command("fetch")
def data_fetch(
    name: Annotated[
        str,
        typer.Argument(
            help="Name of a free dataset: circor, cinc2016, circor_hf, circor_hf_processed, "
            "echoxflow, echoxflow-demo."
        ),
    ],
    folder: Annotated[Path, typer.Argument(help="Folder to write the release to.")] = Path(),
    attempts: Annotated[
        int, typer.Option(min=1, help="How many times to try a file that fails.")
    ] = 5,
) -> None:
    """Download a free dataset and verify the checksum of each file.

    Run the same command again to resume a download. For datasets that need a signed agreement,
    it says where to get them.
    """
    from etab.cli import show
    from etab.datasets.fetch import RELEASES, fetch_data

    with show.late_bar(f"{name} files") as progress:
        release = fetch_data(
            name,
            folder,
            attempts=attempts,
            report=lambda text: say(text, error=True),
            progress=progress,
        )
    dataset = RELEASES[name].dataset
    say(f"{name} is in {release}. Check it: etab data check {dataset} --root {release}")
