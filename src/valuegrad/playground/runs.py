"""Training runs beside the server."""

from __future__ import annotations

__all__ = ["Runs"]


class Runs:
    """The training runs of all tabs."""

    def close(self) -> None:
        """End all of them."""
