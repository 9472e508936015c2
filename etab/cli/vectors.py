"""The command ``etab vectors``: the keys that a file of vectors needs."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Annotated

import typer

from etab.cli.options import DataOption, SkipBadOption
from etab.cli.words import say, wrote
from etab.storage.text import counted

app = typer.Typer(no_args_is_help=True, help="List the embeddings that vectors:FILE has to hold.")


@app.callback()
def vectors() -> None:
    """Rank vectors that were made elsewhere, as the backbone vectors:FILE."""


@app.command()
def keys(
    out: Annotated[Path, typer.Option(help="The file to write, keys.csv.")],
    tasks: Annotated[
        str | None,
        typer.Option(
            help="Codes, prefixes or a dataset, separated by commas. [default: all tasks of --data]"
        ),
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option(help="Folder of the dataset. [default: ETAB_<NAME>_DIR, ETAB_DATA, ...]"),
    ] = None,
    data: DataOption = None,
    skip_bad: SkipBadOption = False,
) -> None:
    """Write the keys that the vectors of some tasks need, one per line."""
    from etab.errors import UnsupportedOptionError

    if data is not None:
        from etab.cli.run import own_data

        own = own_data(data, root)
        tasks = tasks or own.name
        root = own.folder
    if tasks is None:
        raise UnsupportedOptionError(
            "Name the tasks with --tasks, or recordings of your own with --data clinic.toml (a "
            "class: --data my_echo.py --root FOLDER)."
        )
    listed = keys_of(tasks, root, skip_bad=skip_bad)
    said = wrote(out)
    write_keys(listed, out)
    say(f"{said}: {counted(len(listed), 'key')}")


def keys_of(tasks: str, root: Path | None, *, skip_bad: bool = False) -> list[tuple[str, str]]:
    """List the keys of some tasks.

    Args:
        tasks: Codes, prefixes or the name of a dataset, separated by commas.
        root: Folder of the data; None for the documented places.
        skip_bad: Leave out recordings that cannot be read.

    Returns:
        (key, recording) in the order of the data, each key once.
    """
    from etab.backbones.own.vectors import recording_of
    from etab.features.supplied import vector_keys
    from etab.runs.data import Data, tasks_at
    from etab.runs.run import Settings
    from etab.tasks.menu import TASKS, find

    wanted = find(tasks_at([name.strip() for name in tasks.split(",")], root))
    parts = [TASKS[code] for task in wanted for code in task.parts]
    settings = Settings(root=root, skip_bad=skip_bad).needing(task.code for task in parts)
    data = Data(settings)
    listed: dict[str, str] = {}
    for task in parts:
        keys = vector_keys(data.source(task.dataset), data.keys(task))
        for i in data.read_by([task]):
            listed[keys[i]] = recording_of(keys[i])
    return list(listed.items())


def write_keys(listed: list[tuple[str, str]], out: Path) -> None:
    """Write keys as a table with the columns key and recording.

    Args:
        listed: Pairs as from ``keys_of``.
        out: The file to write.

    Raises:
        StorageError: The file cannot be written.
    """
    from etab.storage.atomic import write_atomically

    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(("key", "recording"))
    writer.writerows(listed)
    write_atomically(out, table.getvalue())
