"""Copies of the source tree, and what is built in them: for the tests of the build.

The tests never build in the tree they lie in.  Everything runs in subprocesses, without build isolation:
setuptools and Cython come from the test environment.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
GENERATED = ("_native.c", "_native.pyx", "_rules.h", "_constants.h", "*.so", "*.pyd", "__pycache__", "*.egg-info")

needs_source_tree = pytest.mark.skipif(
    not (ROOT / "setup.py").exists() or not (ROOT / "src" / "valuegrad").is_dir(),
    reason="the tests run without the source tree that they would build",
)


def copy_of_the_source_tree(target: Path) -> Path:
    """A fresh checkout's files: nothing generated, nothing compiled."""
    for name in ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, target / name)
    shutil.copytree(ROOT / "src", target / "src", ignore=shutil.ignore_patterns(*GENERATED))
    shutil.copytree(ROOT / "docs", target / "docs")
    return target


def run(*command: str | Path, where: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments; the package comes from where PYTHONPATH says."""
    inherited = {name: text for name, text in os.environ.items() if name not in ("VALUEGRAD_ENGINE", "PYTHONPATH")}
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=where,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=600,
    )


def succeed(*command: str | Path, where: Path, **environment: str) -> str:
    """The output of a run that must succeed."""
    result = run(*command, where=where, **environment)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return result.stdout + result.stderr
