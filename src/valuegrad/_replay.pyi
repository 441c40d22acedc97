from collections.abc import Callable, Hashable, Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

@final
class Code:
    def __init__(
        self,
        ops: NDArray[np.uint16],
        starts: NDArray[np.int32],
        operands: NDArray[np.int32],
        numbers: NDArray[np.float64],
        outputs: NDArray[np.int32],
        guard_nodes: NDArray[np.int32],
        guard_expected: NDArray[np.uint8],
        uniform: NDArray[np.uint8],
        *,
        dtype: str = "float64",
        strict: bool = False,
        calls: Sequence[Callable[..., Any]] = (),
        backend: str = "auto",
    ) -> None: ...
    @property
    def backend(self) -> str: ...
    @property
    def block(self) -> int: ...
    @property
    def instructions(self) -> tuple[tuple[int, ...], tuple[tuple[int, int], ...]]: ...
    @property
    def code_bytes(self) -> int: ...
    @property
    def frame_bytes(self) -> int: ...
    def segment(
        self, k: int, apart: bool = False
    ) -> tuple[
        NDArray[np.uint16],
        NDArray[np.int32],
        NDArray[np.int32],
        NDArray[np.float64],
        NDArray[np.int32],
        int,
        int,
        int,
        list[tuple[int, int, int, int]],
    ]: ...
    @property
    def layout(
        self,
    ) -> tuple[
        NDArray[np.int32], NDArray[np.int32], NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float64], int
    ]: ...
    @property
    def totals(self) -> NDArray[np.int32]: ...
    @property
    def runs(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]: ...
    @property
    def in_place(self) -> tuple[int, int]: ...
    def leave_in_place(self, read: int, written: int, is_read_often: bool, count: int) -> None: ...
    def install(self, k: int, address: int, what: str, slots: int, keep: object) -> None: ...
    def install_stream(self, address: int, keep: object) -> None: ...
    def build_with(self, builder: Callable[[Code, str], object]) -> None: ...
    @property
    def dtype(self) -> str: ...
    @property
    def calls(self) -> tuple[Callable[..., Any], ...]: ...
    @property
    def uniform_outputs(self) -> NDArray[np.uint8]: ...
    def run(
        self, n: int, inputs: list[NDArray[Any]], outputs: list[NDArray[Any]], threads: int = 1
    ) -> NDArray[np.int32] | None: ...
    def run_packed(
        self,
        n: int,
        uniform: NDArray[Any],
        lanes: list[NDArray[Any]],
        own: NDArray[Any],
        others: list[NDArray[Any]],
        threads: int = 1,
    ) -> NDArray[np.int32] | None: ...
    def iterate(
        self,
        n: int,
        steps: int,
        size: int,
        uniform: NDArray[Any],
        state: NDArray[Any],
        lanes: list[NDArray[Any]],
        rows: list[tuple[int, NDArray[Any]]],
        own: NDArray[Any],
        extras: list[NDArray[Any]],
        threads: int = 1,
    ) -> int: ...
    def call(self, args: tuple[float, ...]) -> tuple[float, ...] | None: ...
    @staticmethod
    def has_fma() -> bool: ...
    @staticmethod
    def function(op: int, dtype: str, strict: bool) -> int: ...
    @staticmethod
    def register_function(op: int, dtype: str, strict: bool) -> tuple[int, int]: ...

@final
class Descent:
    def __init__(self, update: Code, parameters: int, clip: Code | None = None) -> None: ...
    def run(
        self,
        state: NDArray[Any],
        codes: list[Code],
        code_of: NDArray[np.int32],
        lanes: NDArray[np.int32],
        begins: NDArray[np.int64],
        numbers: NDArray[Any],
        first: NDArray[np.int64],
        rows: NDArray[np.float64],
        losses: NDArray[np.float64],
        threads: int = 1,
    ) -> int: ...

def places_of_use(
    starts: NDArray[np.int32],
    operands: NDArray[np.int32],
    group: NDArray[np.int32],
    groups: int,
    lists: NDArray[np.uint8],
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32], NDArray[np.uint8], NDArray[np.uint8]]: ...
def uses_of(
    starts: NDArray[np.int32],
    operands: NDArray[np.int32],
    group: NDArray[np.int32],
    wanted: NDArray[np.uint8],
) -> tuple[NDArray[np.int32], NDArray[np.int32]]: ...
def has_wide_units() -> bool: ...
def floats_of(x: Any, which: Hashable, to: NDArray[np.float64], at: int, integers: bool = ...) -> int: ...
def nested(which: Any, numbers: NDArray[np.float64]) -> Any: ...
def sorted_blocks(
    batches: NDArray[np.int64], positions: NDArray[np.int64], most: int, width: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]: ...
def fill_blocks(
    tokens: NDArray[np.unsignedinteger[Any]],
    positions: NDArray[np.int64],
    order: NDArray[np.int64],
    lengths: NDArray[np.int64],
    width: int,
    numbers: NDArray[np.floating[Any]],
) -> NDArray[np.int64]: ...

@final
class Executable:
    address: int
    def __init__(self, code: bytes) -> None: ...
