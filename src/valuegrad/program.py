"""Programs, which ``vg.compile`` makes: a function that is recorded once and runs on whole batches.

Why: on Values a function is computed anew, operation by operation, at every call.  A program records what it does
with its numbers, once for each path through its branches, differentiates that as a graph, and runs it on numbers
and arrays without Python in the middle.

Data structures: ``Program`` is what ``compile`` (``compiling.py``) gives.  For each structure of arguments it has the
paths that were recorded (``paths.Paths``).  A derivative of a program (``vg.grad(program)``) is a program again: it
records the derivative of the function.

Where to start reading: ``Program.__call__``, then ``Program._evaluate``, then ``paths.py``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable
from functools import cached_property
from threading import RLock
from types import MethodType
from typing import TYPE_CHECKING, Any

from valuegrad import functional, modes
from valuegrad.calls import Call, Signature
from valuegrad.derivation import DIRECTIONAL, ArgNums, Derivative, every_gradient, gradient_leaves, in_direction
from valuegrad.lower.lowering import ENGINE
from valuegrad.paths import Options, Paths
from valuegrad.quick import ArrayCall, array_call

if TYPE_CHECKING:
    from valuegrad.descriptions import ProgramDescription
    from valuegrad.overview import Overview

__all__ = ["Program", "load"]


class Program:
    """A compiled function: called like the function, with numbers or with arrays whose every element is a lane.

    Made by ``vg.compile``, which see; ``vg.grad``, ``vg.value_and_grad``, ``vg.jacobian``, ``vg.hessian``,
    ``vg.hvp``, ``vg.jvp`` and ``vg.vjp`` of a program give programs.  ``program.value_and_grad(...)`` gives all
    gradients at once, ``program.iterate`` applies it to its own result, ``program.graph`` shows what was recorded, and
    ``program.save`` keeps that in a file.  Called with Values, or inside ``vg.strict()``, it runs the plain function.

    Args:
        function: what a lane computes.
        options: what ``compile`` was asked for.
        name: in messages; the function's by default.
        signature: the parameters; the function's by default.
        derivative: which derivative of another function it is, if it is one.

    Attributes:
        function: the plain function: what runs when there are Values among the arguments.
        engine: "native", or "readable" where the compiled modules were not built.
    """

    engine = ENGINE

    def __init__(
        self,
        function: Callable[..., Any],
        options: Options,
        *,
        name: str | None = None,
        signature: Signature | None = None,
        derivative: Derivative | None = None,
    ) -> None:
        self.function = function
        self.options = options
        own: str = getattr(function, "__name__", type(function).__name__)
        self.__name__ = name or own
        self.__qualname__ = getattr(function, "__qualname__", own) if name is None else name
        self.__module__ = getattr(function, "__module__", __name__)
        self.__doc__ = getattr(function, "__doc__", None)
        self.__wrapped__ = function
        self._signature = signature or Signature(function, options.static, options.vectors, self.__name__)
        self._derivative = derivative
        self._paths: dict[Hashable, Paths] = {}
        self._derived: dict[Hashable, Program] = {}
        self._lock = RLock()
        self._warned = [False]
        self._fast: tuple[Any, Any, int] | None = None  # of the latest call on floats: code, builder, how many
        self._arrays: ArrayCall | None = None  # the latest one on arrays and floats

    def __repr__(self) -> str:
        return f"<valuegrad program {self.__name__}{self.__signature__ or '(...)'}>"

    def _repr_html_(self) -> str:
        """What a notebook shows of it: what it has recorded."""
        return self.graph._repr_html_()

    @property
    def __signature__(self) -> Any:
        return self._signature.signature

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """A program in a class is a method: its first argument, the object, must be static."""
        return self if instance is None else MethodType(self, instance)

    def __copy__(self) -> Program:
        return self

    def __deepcopy__(self, memo: Any) -> Program:
        return self

    # ------------------------------------------------------------------------------------------------ calling
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The function's result: plain floats for numbers, an array for each number if there are arrays."""
        fast = self._fast
        if fast is not None and len(args) == fast[2] and not kwargs and not _mode():
            numbers = fast[0](args)
            if numbers is not None:
                return fast[1](numbers)
        arrays = self._arrays
        found = arrays(args, kwargs) if arrays is not None and not _mode() else None
        return self._evaluate(args, kwargs) if found is None else found

    def _evaluate(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if modes.recorder() is not None:
            return self.function(*args, **kwargs)  # another recording: every operation is looked at
        found = self.taken_apart(args, kwargs)
        if found is None:
            return self.function(*args, **kwargs)  # Values: their owner wants to know what becomes of them
        paths, call = found
        if modes.current() & modes.STRICT:
            return paths.uncompiled(call)  # on Values, lane by lane: each operation looks at its numbers
        result = paths.evaluate(call)
        keywords = self._signature.following(len(args), kwargs) if kwargs else ()
        if keywords is not None:
            self._remember(paths, call, (*args, *[kwargs[name] for name in keywords]), keywords)
        return result

    def warm_up(self, *args: Any, **kwargs: Any) -> Any:
        """Call it, and have all made now that makes later calls like this one quick.

        A long program begins as straight-line code, and is rolled into loops when its calls have taken half a second:
        LLVM may take longer than that to compile them.  Who measures, or answers requests, wants them before.  Results
        are the same either way, to the last bit.

        Returns:
            What the call gives.

        Example:
            >>> import valuegrad as vg
            >>> area = vg.compile(lambda width, height: width * height)
            >>> area.warm_up(3.0, 5.0)
            15.0
        """
        self(*args, **kwargs)
        for paths in list(self._paths.values()):
            for path in paths.root.walk() if paths.root is not None else ():
                for lowered in list(path.lowered.values()):
                    lowered.settle()
        return self(*args, **kwargs)

    def taken_apart(self, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> tuple[Paths, Call] | None:
        """A call, and the paths for its structure; None if there are Values among its arguments."""
        signature, derivative = self._signature, self._derivative
        given = len(args)
        args, kwargs = signature.bind(args, kwargs or {})
        call = signature.call(args, kwargs)
        if call is None:
            return None
        text = (
            {i for i, x in enumerate(args) if type(x) is str} if derivative else set()
        )  # static, though nobody said so
        positions = derivative.positions(given, len(args), signature.static | text) if derivative else ()
        key = (call.key, positions)
        paths = self._paths.get(key)
        if paths is None:
            paths = self._paths.setdefault(key, self._empty_paths(call, positions, len(args)))
        return paths, call

    def _empty_paths(self, call: Call, positions: tuple[int, ...], count: int) -> Paths:
        """What will hold the paths of calls like this one."""
        derivative = self._derivative
        function = derivative.of(positions, count) if derivative else self.function
        gradients = gradient_leaves(call, positions) if derivative and derivative.reduces else ()
        paths = Paths(self.__name__, function, self._gives_numbers, self.options, self._lock, self._warned, gradients)
        paths.names = call.names()
        paths.where, paths.shapes = call.where, call.shapes()
        return paths

    @property
    def _gives_numbers(self) -> bool:
        """Whether the plain function gives numbers for numbers: a derivative does."""
        return self._derivative is not None

    def _remember(self, paths: Paths, call: Call, args: tuple[Any, ...], keywords: tuple[str, ...]) -> None:
        """Make the next call like this one quick: positional floats, or arrays, and nestings of both, nothing else.

        Args:
            paths: of its structure.
            call: it.
            args: its arguments, those given by keywords last.
            keywords: these.
        """
        path = paths.latest if call.shape is None else None
        path = path or paths.root
        if path is None or path.captured:
            return
        if set(map(type, args)) == {float} and len(args) == len(call.leaves) and not keywords:
            self._fast = (paths.lower(path, call).call, paths.build, len(args))
        elif call.shape is None or not paths.have_parted:  # else many a call would be run twice
            self._arrays = array_call(paths, path, call, args, keywords)
        else:
            self._arrays = None

    # -------------------------------------------------------------------------------------------- derivatives
    @cached_property
    def value_and_grad(self) -> Program:
        """The program that gives the value, and a tuple with a gradient for each argument.

        A gradient has the shape of its argument: an array that has a number for each lane gets one for each lane;
        a number, or an array that was broadcast, gets the sum over the lanes that shared it (or the mean, with
        ``reduce="mean"``).  A static argument gets None.

        Example:
            >>> import numpy as np, valuegrad as vg
            >>> area = vg.compile(lambda width, height: width * height)
            >>> area.value_and_grad(3.0, 5.0)
            (15.0, (5.0, 3.0))
            >>> value, (by_width, by_height) = area.value_and_grad(np.array([1.0, 2.0]), 5.0)
            >>> value, by_width, by_height
            (array([ 5., 10.]), array([5., 5.]), 3.0)
        """
        return self.derived_program("value_and_grad", None)

    def derived_program(self, how: str, argnums: ArgNums = 0) -> Program:
        """A derivative of this program, as a program; ``vg.grad`` and its like come here.

        Args:
            how: "grad", "value_and_grad", "jacobian", "hessian", "hvp", "jvp" or "vjp".
            argnums: which positional argument to differentiate by, or a tuple of several.
        """
        key = (how, tuple(argnums) if isinstance(argnums, list) else argnums)
        with self._lock:
            if key not in self._derived:
                self._derived[key] = self._derive(how, argnums)
            return self._derived[key]

    def _derive(self, how: str, argnums: ArgNums) -> Program:
        function, name = self.function, f"{how}({self.__name__})"
        if how in ("hvp", "jvp", "vjp"):
            return _Directional(in_direction(how, function, argnums), self.options, name=name)
        derivative = Derivative(how, function, argnums)
        if argnums is None:
            count = len(self._signature.names)
            positions = derivative.positions(count, count, self._signature.static)
            plain = every_gradient(function, positions, count)
        else:
            plain = getattr(functional, how)(function, argnums)
        return Program(plain, self.options, name=name, signature=self._signature, derivative=derivative)

    def with_options(self, options: Options) -> Program:
        """The same function, compiled in another way."""
        signature = Signature(self._signature.function, options.static, options.vectors, self.__name__)
        return type(self)(self.function, options, name=self.__name__, signature=signature, derivative=self._derivative)

    # ----------------------------------------------------------------------------------------- looking inside
    @property
    def graph(self) -> Overview:
        """What was recorded so far: operations, guards, memory; it prints well.

        Example:
            >>> import valuegrad as vg
            >>> area = vg.compile(lambda width, height: width * height)
            >>> area(3.0, 5.0)
            15.0
            >>> area.graph.counts
            {'input': 2, 'mul': 1}
        """
        from valuegrad.overview import Overview  # with its pictures, of which no other use of a program needs any

        return Overview(self.__name__, self.engine, self.options, tuple(self._paths.values()))

    def iterate(self, state: Any, inputs: Any = (), steps: int | None = None) -> Any:
        """Apply the program to its own result, again and again: state = program(state, *inputs of the step).

        Args:
            state: the first state: numbers, arrays (a lane for each element), or a nesting of them.
            inputs: a tuple of further arguments.  An array in them has one entry for each step along its first
                axis (and lanes after it); a number is the same for all steps.
            steps: how many steps; as many as the inputs have entries by default.

        Returns:
            The last state.  If the function returns a pair (state, extras), the pair of the last state and the
            extras, each with the steps along its first axis.

        Raises:
            ShapeError: the function gives another structure than the state's, or inputs differ in length, or from
                ``steps``.
            ValueArgumentError: nobody says how many steps.

        Example:
            >>> import valuegrad as vg
            >>> newton = vg.compile(lambda x, a: (x + a / x) / 2)
            >>> newton.iterate(1.0, (2.0,), steps=5)
            1.414213562373095
        """
        from valuegrad.iteration import iterate

        return iterate(self, state, inputs, steps)

    # ---------------------------------------------------------------------------------------- files and pickles
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write what was recorded into a file: graphs, not Python code, so it is safe to open from a stranger.

        What is computed by ``vg.load`` of it is what was recorded; a path that was not is an error there, as the
        function itself is not in the file.

        Args:
            path: the file, such as ``price.vg``; one that is there is replaced.

        Raises:
            ProgramFileError: nothing was recorded yet, or something that no file can hold (a Python function that is
                called for every lane, an argument of an unusual type).
            OSError: the file cannot be written.

        Example:
            >>> import valuegrad as vg
            >>> area = vg.compile(lambda width, height: width * height)
            >>> area(3.0, 5.0)
            15.0
            >>> area.save("area.vg")
            >>> vg.load("area.vg")(2.0, 4.0)
            8.0
        """
        from valuegrad import files

        files.write(path, self._described())

    def __reduce__(self) -> tuple[Any, ...]:
        from valuegrad import files

        return _from_bytes, (files.dump(self._described()),)

    def _described(self) -> ProgramDescription:
        from valuegrad.saving import describe

        return describe(self.__name__, self._signature, self.options, self._transforms(), self._paths)

    def _transforms(self) -> tuple[tuple[str, Any], ...]:
        return ((self._derivative.how, self._derivative.argnums),) if self._derivative else ()


class _Directional(Program):
    """jvp, hvp and the like: derivatives that take the arguments as one of theirs."""

    @property
    def _gives_numbers(self) -> bool:
        return True

    def _transforms(self) -> tuple[tuple[str, Any], ...]:
        return ((DIRECTIONAL, None),)


def load(path: str | os.PathLike[str]) -> Program:
    """Read a program from a file that ``Program.save`` wrote.

    The file holds graphs and numbers; whatever is in it, opening it runs no code of its author's.  The program runs
    as it did: on numbers, arrays and Values, with its derivatives; it is compiled for this processor.

    Args:
        path: the file.

    Raises:
        ProgramFileError: the file is missing, damaged, no program at all, or from a newer version.
        PathsError: when called: the function was not recorded for such arguments, or not on the path that they take.
    """
    from valuegrad import files

    return _restored(files.read(path), f"program file {os.fspath(path)}")


def _from_bytes(data: bytes) -> Program:
    """A program from its pickle."""
    from valuegrad import files

    return _restored(files.parse(data, "a pickled program"), "a pickled program")


def _restored(description: ProgramDescription, who: str) -> Program:
    from valuegrad.saving import program_of

    program: Program = program_of(description, who, Program, _Directional)
    return program


_mode = modes.variable.get
