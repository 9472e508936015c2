"""Runs the notebooks of ``docs/notebooks`` and keeps their outputs: ``python -m benchmarks.pages.execute [NAME ...]``.

Each makes its own phantom data in a temporary folder, so nothing but the package is needed.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path
from typing import Any

NOTEBOOKS = Path(__file__).resolve().parents[2] / "docs" / "notebooks"


def executed(path: Path, folder: Path, timeout: int = 900) -> Any:
    """The notebook with the outputs of running it in ``folder``; raises nbclient's CellExecutionError."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute()
    return tidy(notebook)


def tidy(notebook: Any) -> Any:
    """Without what changes from run to run and what is no output: times, facts of the machine, notes on stderr."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}
    }
    for number, cell in enumerate(notebook.cells):
        cell.metadata.clear()
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]
        cell["id"] = f"cell-{number}"
    return notebook


def texts(notebook: Any) -> str:
    """All text that the outputs show."""
    said = []
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            said.append(str(output.get("text", "")))
            said += [str(v) for k, v in output.get("data", {}).items() if k.startswith("text/")]
    return re.sub(r"\s+", " ", " ".join(said))


def main(names: list[str]) -> int:
    """Execute and write back."""
    import nbformat

    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        if names and path.stem not in names:
            continue
        with tempfile.TemporaryDirectory() as folder:
            nbformat.write(executed(path, Path(folder)), path)
        sys.stdout.write(f"{path.name}: {path.stat().st_size // 1000} kB\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
