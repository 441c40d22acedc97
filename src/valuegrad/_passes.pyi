from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

class Builder:
    def __init__(
        self,
        ops: NDArray[np.uint16],
        starts: NDArray[np.int32],
        operands: NDArray[np.int32],
        numbers: NDArray[np.float64],
        shared: NDArray[np.uint8] | None = None,
    ) -> None: ...
    def arrays(self) -> tuple[NDArray[Any], ...]: ...
    def adjoint(
        self,
        templates: Templates,
        which: NDArray[np.int32],
        outputs: NDArray[np.int32],
        seeds: NDArray[np.int32],
        wrt: NDArray[np.int32],
        quick: bool,
    ) -> NDArray[np.int32]: ...
    def tangent(
        self,
        templates: Templates,
        which: NDArray[np.int32],
        inputs: NDArray[np.int32],
        directions: NDArray[np.int32],
        outputs: NDArray[np.int32],
    ) -> NDArray[np.int32]: ...
    def machine(
        self,
        templates: Templates,
        which: NDArray[np.int32],
        room: int,
        inputs: int,
        roots: NDArray[np.int32],
        selected: int,
    ) -> tuple[NDArray[Any], ...]: ...

class Templates:
    def __init__(self, arrays: tuple[NDArray[Any], ...]) -> None: ...

def which_templates(
    ops: NDArray[np.uint16],
    starts: NDArray[np.int32],
    numbers: NDArray[np.float64],
    wanted: NDArray[np.uint8],
    find: Callable[[int, int, float], int],
) -> NDArray[np.int32]: ...
