"""Executes the notebooks beside this file: writes their outputs into them, or checks those that are there.

    python docs/notebooks/execute.py                       # all of them, in place
    python docs/notebooks/execute.py --check a_number_that_remembers

A check compares what is text (printed, or the text of a result) and which kinds of output there are; pictures and
tables are made anew and not compared.  A cell with the tag "varies" (times, for instance) need only run.

What is written is stable: ids by position, no times, no paths; the kernel runs in an empty folder.

Where to start reading: ``main``.
"""

from __future__ import annotations

import argparse
import difflib
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
TIMEOUT = 300  # seconds for a cell
KERNEL = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def execute(path: Path) -> Any:
    """A notebook, executed from its first cell to its last.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell raised, without the tag "raises-exception".
    """
    import nbclient
    import nbformat
    from traitlets.config import Config

    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as sockets:
        by_files = {"transport": "ipc", "ip": str(Path(sockets) / "kernel")}  # rather than by ports of the network
        client = nbclient.NotebookClient(
            notebook,
            kernel_name="python3",
            config=Config({"KernelManager": by_files if os.name == "posix" else {}}),
            timeout=TIMEOUT,
            record_timing=False,
            coalesce_streams=True,
            resources={"metadata": {"path": folder}},
        )
        client.execute()
    return tidy(notebook)


def tidy(notebook: Any) -> Any:
    """What makes two runs the same file."""
    notebook.metadata.clear()
    notebook.metadata.update(KERNEL)
    for number, cell in enumerate(notebook.cells, 1):
        cell.id = f"cell-{number:02}"
        tags = cell.metadata.get("tags", [])
        cell.metadata.clear()
        if tags:
            cell.metadata["tags"] = tags
        for output in cell.get("outputs", []):
            output.pop("transient", None)
            if output.output_type == "error":
                output.traceback = []  # it has paths of this machine
    return notebook


def told(notebook: Any) -> list[str]:
    """What is compared: the texts of the outputs, and their kinds."""
    lines = []
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        lines.append(f"-- {cell.id}")
        if "varies" in cell.metadata.get("tags", []):
            continue
        for output in cell.outputs:
            if output.output_type == "stream":
                lines += [f"{output.name}: {line}" for line in output.text.splitlines()]
            elif output.output_type == "error":
                lines.append(f"{output.ename}: {output.evalue}")
            else:
                lines.append(f"shows {', '.join(sorted(output.data))}")
                lines += output.data.get("text/plain", "").splitlines()
    return lines


def write(notebook: Any, path: Path) -> None:
    """Write a notebook, whole or not at all."""
    import nbformat

    from valuegrad.atomic import write_atomically

    write_atomically(path, (nbformat.writes(notebook).rstrip("\n") + "\n").encode())


def main(arguments: list[str]) -> int:
    """Execute, then write or compare; 1 if something differs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="notebooks, without .ipynb (default: all)")
    parser.add_argument("--check", action="store_true", help="compare the texts; write nothing")
    chosen = parser.parse_args(arguments)
    paths = [HERE / f"{name}.ipynb" for name in chosen.names] or sorted(HERE.glob("*.ipynb"))
    differing = 0
    with tempfile.TemporaryDirectory() as folder:
        # Nothing of the user's own settings, and nothing left behind there.
        for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR"):
            os.environ[name] = str(Path(folder) / name.lower())
        # The kernel runs in another folder: what was given from this one still holds.
        given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        os.environ["PYTHONPATH"] = os.pathsep.join([os.path.abspath(part) for part in given if part])
        os.environ["JUPYTER_PLATFORM_DIRS"] = "1"
        os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"
        for path in paths:
            import nbformat

            committed = told(nbformat.read(path, as_version=4))
            notebook = execute(path)
            if not chosen.check:
                write(notebook, path)
            difference = "\n".join(
                difflib.unified_diff(committed, told(notebook), "committed", "executed", lineterm="")
            )
            if difference and chosen.check:
                differing += 1
                print(f"{path.name} does not give what it shows:\n{difference}")
    return int(differing > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
