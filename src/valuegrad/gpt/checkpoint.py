"""Checkpoints: a run on disk, complete at every moment.

A folder holds two files:

    weights-000500-1a2b3c4d.safetensors   weights, the optimiser's arrays, the losses so far; all float64
    checkpoint.json                       settings, alphabet, random state, and the name of that file

The weights are written first, under a name that contains their digest; then one rename puts the new
``checkpoint.json`` in place of the old one; then old weights are removed.  So whatever stops the program,
and whenever, the folder holds either the old pair or the new one.  Nothing is pickled: a checkpoint from
a stranger is safe to open.

Where to start reading: ``Checkpoint.save`` and ``Checkpoint.load``.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors
import safetensors.numpy

from valuegrad.atomic import write_atomically
from valuegrad.errors import CheckpointError, ValuegradError
from valuegrad.gpt.display import loss_chart, run_html
from valuegrad.gpt.model import GPT
from valuegrad.gpt.settings import ModelSettings, TrainingSettings
from valuegrad.gpt.tokenizer import Tokenizer
from valuegrad.value import write_data

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["SETTINGS_FILE", "Checkpoint"]

FORMAT = "valuegrad GPT checkpoint"
VERSION = 1  # one more whenever an older valuegrad could not read it
SETTINGS_FILE = "checkpoint.json"
_WEIGHTS_FILE = re.compile(r"weights-\d{6,}-[0-9a-f]{8}\.safetensors")
_WORDS = ">625I"  # the Mersenne Twister's state: 624 words and the position among them


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run between two steps.

    Args:
        model_settings: the model's sizes.
        settings: how it is trained.
        characters: the alphabet.
        data_name: what the documents are: a data set's name, or a path.
        fingerprint: the documents' digest.
        step: how many steps are done.
        random_state: the generator's, as ``random.Random.getstate`` gives it.
        weights: the model's matrices by name; rows belong to outputs.
        optimizer: what the optimiser remembers; an entry for each parameter.
        losses: the loss of every step so far.
        evaluations: after which step, loss on held-out documents.
    """

    model_settings: ModelSettings
    settings: TrainingSettings
    characters: str
    data_name: str
    fingerprint: str
    step: int
    random_state: tuple[Any, ...]
    weights: Mapping[str, Array]
    optimizer: Mapping[str, Array]
    losses: Array
    evaluations: list[tuple[int, float]]

    def model(self) -> GPT:
        """The model with its weights."""
        model = GPT(len(self.characters) + 1, self.model_settings, Random(0))
        self.write_weights(model)
        return model

    def tokenizer(self) -> Tokenizer:
        """The model's characters."""
        return Tokenizer(self.characters)

    def rng(self) -> Random:
        """A generator in the run's random state."""
        rng = Random()
        rng.setstate(self.random_state)
        return rng

    def write_weights(self, model: GPT) -> None:
        """Give a model of the same sizes these weights."""
        for name, matrix in model.matrices().items():
            write_data([weight for row in matrix for weight in row], np.ascontiguousarray(self.weights[name]).data)

    def _repr_html_(self) -> str:
        """What a notebook shows: where the run stood, its loss, its settings."""
        return run_html(
            self.model_settings, self.settings, len(self.characters) + 1, self.data_name,
            self.losses.tolist(), self.evaluations,
        )  # fmt: skip

    def _repr_svg_(self) -> str | None:
        return loss_chart(self.losses.tolist(), self.evaluations) if len(self.losses) else None

    # ------------------------------------------------------------------------------------------- writing
    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the checkpoint into a folder, in place of the one there.

        Raises:
            OSError: the folder cannot be written to; the checkpoint that was there still is.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {f"model.{name}": array for name, array in self.weights.items()}
        arrays |= {f"optimizer.{name}": array for name, array in self.optimizer.items()}
        arrays["losses"] = self.losses
        arrays["evaluations"] = np.array(self.evaluations, dtype=np.float64).reshape(-1, 2)
        data = safetensors.numpy.save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
        digest = hashlib.sha256(data).hexdigest()
        weights_file = f"weights-{self.step:06d}-{digest[:8]}.safetensors"
        version, words, gauss_next = self.random_state
        settings = {
            "format": FORMAT,
            "version": VERSION,
            "step": self.step,
            "data": {"name": self.data_name, "sha256": self.fingerprint},
            "characters": self.characters,
            "model": asdict(self.model_settings),
            "training": asdict(self.settings),
            "random": {"version": version, "words": struct.pack(_WORDS, *words).hex(), "gauss_next": gauss_next},
            "weights": {"file": weights_file, "bytes": len(data), "sha256": digest},
        }
        write_atomically(folder / weights_file, data)
        write_atomically(folder / SETTINGS_FILE, json.dumps(settings, indent=2, allow_nan=False).encode() + b"\n")
        for old in folder.iterdir():
            if _WEIGHTS_FILE.fullmatch(old.name.removeprefix(".").removesuffix(".tmp")) and old.name != weights_file:
                old.unlink(missing_ok=True)

    # ------------------------------------------------------------------------------------------- reading
    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Checkpoint:
        """Read a folder's checkpoint.

        Raises:
            CheckpointError: it is missing, damaged, of another shape than it says, or from a newer version.
        """
        folder = Path(folder)
        path = folder / SETTINGS_FILE
        text = _read(path, folder)
        while True:
            fields = _parsed(text, path)
            weights_file = str(fields["weights"]["file"])
            try:
                data = (folder / weights_file).read_bytes()
                break
            except FileNotFoundError:
                newer = _read(path, folder)
                if newer == text:
                    raise CheckpointError(
                        f"checkpoint {folder} lacks its file {weights_file}; copy the whole folder, or train again"
                    ) from None
                text = newer  # a training that is running has just replaced the pair
            except OSError as error:
                raise CheckpointError(f"checkpoint {folder / weights_file} cannot be read: {error.strerror}") from None
        try:
            return cls._of(fields, _arrays(data, fields, folder / weights_file))
        except CheckpointError:
            raise
        except (KeyError, TypeError, ValueError, ArithmeticError, struct.error, ValuegradError) as error:
            raise _damaged(path, f"{type(error).__name__}: {error}") from None

    @classmethod
    def _of(cls, fields: dict[str, Any], arrays: dict[str, Array]) -> Checkpoint:
        characters, step = fields["characters"], fields["step"]
        if not isinstance(characters, str) or type(step) is not int or step < 0:
            raise ValueError("'characters' must be text and 'step' a number from 0 on")
        # Runs from before there was a choice go on as they began.
        training = {"engine": "eager", **fields["training"]}
        model_settings, settings = ModelSettings(**fields["model"]), TrainingSettings(**training)
        Tokenizer(characters)  # raises if a character comes twice
        _check_shapes(arrays, model_settings, len(characters) + 1, step)
        state = fields["random"]
        words = struct.unpack(_WORDS, bytes.fromhex(state["words"]))
        random_state = (state["version"], words, state["gauss_next"])
        Random().setstate(random_state)  # raises if it is none
        return cls(
            model_settings=model_settings,
            settings=settings,
            characters=characters,
            data_name=str(fields["data"]["name"]),
            fingerprint=str(fields["data"]["sha256"]),
            step=step,
            random_state=random_state,
            weights=_under("model.", arrays),
            optimizer=_under("optimizer.", arrays),
            losses=arrays["losses"],
            evaluations=[(int(at), float(loss)) for at, loss in arrays["evaluations"].tolist()],
        )


def _damaged(path: Path, why: str) -> CheckpointError:
    return CheckpointError(f"checkpoint {path} is damaged ({why}); restore it from a copy, or train again")


def _read(path: Path, folder: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        what = "holds no checkpoint" if folder.is_dir() else "is a file" if folder.exists() else "does not exist"
        raise CheckpointError(
            f"checkpoint folder {folder} {what}; expected the folder that 'valuegrad train --out' made, "
            f"with {SETTINGS_FILE} in it"
        ) from None
    except OSError as error:
        raise CheckpointError(f"checkpoint {path} cannot be read: {error.strerror}") from None


def _parsed(text: bytes, path: Path) -> dict[str, Any]:
    """The settings file's fields, once it is clear that it is one, and of a version that is known here."""
    try:
        fields = json.loads(text)
    except ValueError as error:  # also UnicodeDecodeError
        raise _damaged(path, f"it is no JSON: {error}") from None
    if not isinstance(fields, dict) or fields.get("format") != FORMAT:
        raise CheckpointError(f"{path} is no checkpoint of valuegrad's GPT: it lacks 'format': {FORMAT!r}")
    version = fields.get("version")
    if type(version) is not int or version < 1:
        raise _damaged(path, f"its version is {version!r}")
    if version > VERSION:
        raise CheckpointError(
            f"checkpoint {path} has version {version}; this valuegrad reads versions up to {VERSION}: "
            "install a newer valuegrad"
        )
    weights = fields.get("weights")
    if not isinstance(weights, dict) or not _WEIGHTS_FILE.fullmatch(str(weights.get("file"))):
        raise _damaged(path, f"its 'weights' are {weights!r}")
    return fields


def _arrays(data: bytes, fields: dict[str, Any], path: Path) -> dict[str, Array]:
    """The arrays in a weights file that is the one the settings belong to."""
    size = fields["weights"]["bytes"]
    if len(data) != size:
        raise _damaged(path, f"it has {len(data)} bytes, {size} were written: truncated or replaced")
    if hashlib.sha256(data).hexdigest() != fields["weights"]["sha256"]:
        raise _damaged(path, "its content has changed since it was written")
    try:
        return safetensors.numpy.load(data)
    except safetensors.SafetensorError as error:
        raise _damaged(path, str(error)) from None


def shapes(vocabulary: int, sizes: ModelSettings) -> dict[str, tuple[int, int]]:
    """The shapes of ``GPT.matrices()``, without making a model (a test compares the two)."""
    n = sizes.n_embd
    named = {"wte": (vocabulary, n), "wpe": (sizes.block_size, n), "lm_head": (vocabulary, n)}
    for i in range(sizes.n_layer):
        named |= {f"layer{i}.attn_w{which}": (n, n) for which in "qkvo"}
        named |= {f"layer{i}.mlp_fc1": (4 * n, n), f"layer{i}.mlp_fc2": (n, 4 * n)}
    return named


def _check_shapes(arrays: dict[str, Array], sizes: ModelSettings, vocabulary: int, step: int) -> None:
    expected: dict[str, tuple[int, ...]] = {"losses": (step,)}
    expected |= {f"model.{name}": shape for name, shape in shapes(vocabulary, sizes).items()}
    count = sizes.parameters(vocabulary)
    expected |= {name: (count,) for name in arrays if name.startswith("optimizer.")}
    for name in sorted({*expected, *arrays} - {"evaluations"}):
        found = arrays[name].shape if name in arrays else None
        if found != expected.get(name):
            raise CheckpointError(
                f"the checkpoint's array {name!r} has shape {found}; its settings (n_embd {sizes.n_embd}, n_head "
                f"{sizes.n_head}, n_layer {sizes.n_layer}, block_size {sizes.block_size}, {vocabulary} tokens, "
                f"step {step}) ask for {expected.get(name)}: settings and weights belong to different models"
            )
        if arrays[name].dtype != np.float64:
            raise CheckpointError(f"the checkpoint's array {name!r} is {arrays[name].dtype}; expected float64")


def _under(prefix: str, arrays: dict[str, Array]) -> dict[str, Array]:
    return {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}
