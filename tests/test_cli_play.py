"""``valuegrad play``: a clear message where it cannot be served."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys

import pytest
from click.testing import CliRunner
from engines import ONCE

from valuegrad.cli import main

pytestmark = ONCE


def test_without_nicegui_it_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    result = CliRunner().invoke(main, ["play"])
    assert result.exit_code == 1
    assert result.output == (
        "Error: the playground needs NiceGUI, which is not installed; install it with: pip install 'valuegrad[play]'\n"
    )


def test_the_help_does_not_need_nicegui(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    result = CliRunner().invoke(main, ["play", "--help"])
    assert result.exit_code == 0
    assert "--no-browser" in result.output


def play(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "valuegrad", "play", "--no-browser", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.mark.skipif(importlib.util.find_spec("nicegui") is None, reason="nicegui is not installed")
class TestWithNiceGUI:
    def test_a_port_in_use_is_told(self):
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            port = other.getsockname()[1]
            result = play("--port", str(port))
        assert result.returncode == 1
        assert result.stderr == (
            f"Error: port {port} is in use, perhaps by another playground; "
            "give another one, or --port 0 for a free one\n"
        )

    def test_a_host_of_somebody_else_is_told_after_the_warning(self):
        result = play("--port", "0", "--host", "192.0.2.1")  # an address for documentation: nobody's
        assert result.returncode == 1
        assert result.stderr.startswith("Warning: with --host 192.0.2.1 everybody who reaches this computer")
        assert "Error: cannot listen on 192.0.2.1, port 0" in result.stderr
        assert "Traceback" not in result.stderr
