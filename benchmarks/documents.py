"""The text that the GPT benchmarks train on.

With the original microgpt's names the losses are known to 17 digits and are compared; where that file is
missing, the names that come with valuegrad serve, and only the contestants are compared.
"""

from pathlib import Path

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared" / "data"
NAMES = SHARED / "names.txt"
LOSSES = SHARED / "microgpt_losses_first50.txt"
OWN = ROOT / "src" / "valuegrad" / "gpt" / "datasets" / "names.txt"


def documents() -> tuple[str, list[str]]:
    """Where the names are from, and the names."""
    source, path = ("microgpt's names", NAMES) if NAMES.exists() else ("valuegrad's names", OWN)
    lines = path.read_text(encoding="utf-8").splitlines()
    return source, [line.strip() for line in lines if line.strip()]


def known_losses() -> list[float]:
    """The original's first losses on its names; empty where they are not known."""
    if not (NAMES.exists() and LOSSES.exists()):
        return []
    return [float(line) for line in LOSSES.read_text(encoding="utf-8").split()]


def check_losses(contestant: str, losses: list[float]) -> None:
    """Stop if losses of a training run are not the original's, as far as those are known.

    Raises:
        SystemExit: one is off by more than 1e-9.
    """
    for step, (loss, known) in enumerate(zip(losses, known_losses()), 1):
        if not abs(loss - known) <= 1e-9:
            raise SystemExit(f"{contestant}: the loss of step {step} is {loss!r}; the original's is {known!r}")
