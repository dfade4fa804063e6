"""Executes the tutorials from a clean folder: ``python docs/generator/execute.py [--write] [NAME ...]``."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

TUTORIALS = Path(__file__).parents[1] / "tutorials"
LIMIT = 600
"""Seconds of one cell, after which it fails."""


def execute(path: Path, folder: Path) -> nbformat.NotebookNode:
    """Execute a notebook in a folder; `clsuite` is that of this Python.

    Raises:
        nbclient.exceptions.CellExecutionError: If a cell fails.
    """
    notebook: nbformat.NotebookNode = nbformat.read(path, as_version=4)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    client = NotebookClient(
        notebook, timeout=LIMIT, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    client.execute(env=environment)
    return notebook


def without_traces(notebook: nbformat.NotebookNode, folder: Path) -> nbformat.NotebookNode:
    """The notebook without what differs from run to run: times of cells, and the folder that it ran in."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type != "code":
            continue
        cell["outputs"] = joined(cell.outputs)
        for output in cell["outputs"]:
            if "text" in output:
                output["text"] = output["text"].replace(f"{folder}/", "")
    return notebook


def joined(outputs: list[Any]) -> list[Any]:
    """The outputs of a cell with what was written bit by bit in one piece."""
    whole: list[Any] = []
    for output in outputs:
        if whole and output.output_type == whole[-1].output_type == "stream" and output.name == whole[-1].name:
            whole[-1]["text"] += output["text"]
        else:
            whole.append(output)
    return whole


def main(arguments: Sequence[str] | None = None) -> None:
    """Execute the tutorials that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="keep the outputs in the notebooks")
    parser.add_argument("names", nargs="*", help="names of tutorials; all by default")
    given = parser.parse_args(arguments)
    for path in sorted(TUTORIALS.glob("*.ipynb")):
        if given.names and path.stem not in given.names:
            continue
        with tempfile.TemporaryDirectory() as folder:
            notebook = execute(path, Path(folder))
            if given.write:
                nbformat.write(without_traces(notebook, Path(folder)), path)
        print(f"{path.stem}: executed")


if __name__ == "__main__":
    main()
