"""The container of a program's file: one JSON object and named arrays, as bytes with a digest.

Where to start reading: ``pack``, which ``unpack`` undoes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors
import safetensors.numpy

from valuegrad.arguments import shown
from valuegrad.errors import ProgramFileError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[Any]]

__all__ = ["ARRAYS", "FORMAT", "MEMBERS", "VERSION", "pack", "unpack"]

FORMAT = "valuegrad program"
VERSION = 1  # one more whenever an older valuegrad could not read it; what ``unpack`` reads before it stays
ARRAYS = {
    "ops": "U16", "starts": "I32", "operands": "I32", "numbers": "F64", "outputs": "I32",
    "guard_nodes": "I32", "guard_expected": "U8", "guard_lines": "I32",
}  # fmt: skip
"""The arrays of a path and their types, as safetensors names them."""

TYPES = {"U8": "<u1", "U16": "<u2", "I32": "<i4", "F64": "<f8"}
MEMBERS = {
    "program": {
        "version", "valuegrad", "name", "parameters", "options", "transforms", "captured", "operations", "lines",
        "structures", "specialisations",
    },
    "parameter": {"name", "kind", "default"},
    "captured": {"number", "name"},
    "specialisation": {"arguments", "integers", "settings", "paths"},
    "path": {"inputs", "output", "branches", "captured", "integer_uses"},
}  # fmt: skip
"""The members of every JSON object in a file."""


def pack(fields: Any, arrays: Arrays) -> bytes:
    """A JSON object and arrays as the bytes of a file."""
    program = json.dumps(fields, allow_nan=False, separators=(",", ":"))
    arrays = {name: np.ascontiguousarray(array, array.dtype.newbyteorder("<")) for name, array in arrays.items()}
    digest = _digest(program, {name: array.data for name, array in arrays.items()})
    return safetensors.numpy.save(arrays, metadata={FORMAT: f"{digest} {program}"})


def _digest(program: str, arrays: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(program.encode("utf-8", "surrogatepass"))
    for name in sorted(arrays):
        digest.update(f"\n{name}:{memoryview(arrays[name]).nbytes}\n".encode("utf-8", "surrogatepass"))
        digest.update(arrays[name])
    return digest.hexdigest()


def unpack(data: bytes, who: str) -> tuple[dict[str, Any], Arrays]:
    """The JSON object and the arrays, once it is clear that they are those that were written."""
    try:
        tensors = safetensors.deserialize(data)  # type: ignore[no-untyped-call]
    except safetensors.SafetensorError as error:
        raise ProgramFileError(
            f"{who} is no program of valuegrad, or damaged ({error}); expected a file that a program's save() wrote"
        ) from None
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    metadata = header.get("__metadata__") or {}
    if FORMAT not in metadata:
        raise ProgramFileError(
            f"{who} is no program of valuegrad: its header lacks {FORMAT!r}; "
            "expected a file that a program's save() wrote"
        )
    digest, _, program = metadata[FORMAT].partition(" ")
    if digest != _digest(program, {name: tensor["data"] for name, tensor in tensors}):
        raise ValueError("its content has changed since it was written")
    fields = json.loads(program, parse_constant=_no_constant, parse_int=_integer)
    version = fields.get("version") if type(fields) is dict else None
    if type(version) is not int or version < 1:
        raise ValueError(f"its version is {shown(version)}")
    if version > VERSION:
        raise ProgramFileError(
            f"{who} has version {version}; this valuegrad reads versions up to {VERSION}: install a newer valuegrad"
        )
    arrays = {}
    for name, tensor in tensors:
        kind = ARRAYS.get(name.partition(".")[2], "")
        if tensor["dtype"] != kind or len(tensor["shape"]) != 1:
            raise ValueError(f"its array {name!r} is {tensor['dtype']}{list(tensor['shape'])}")
        array = np.frombuffer(tensor["data"], dtype=TYPES[kind])
        arrays[name] = array.astype(array.dtype.newbyteorder("="), copy=False)
    return fields, arrays


def _integer(text: str) -> int:
    """An integer; converting an endless one would take for ever on older Pythons."""
    if len(text) > 4000:
        raise ValueError("an integer is too long")
    return int(text)


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")
