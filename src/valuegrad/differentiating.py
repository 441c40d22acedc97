"""One call of a function that is being differentiated, and what all derivatives say of their arguments.

Why: every derivative in ``functional`` begins in the same way: the numbers to differentiate by are replaced by fresh
Values, and the function is called.  See there for how derivatives come from it.

Data structures: ``DifferentiatedCall`` is that call; its inputs are the fresh Values.

Where to start reading: ``DifferentiatedCall.__init__``, then ``DifferentiatedCall.gradients``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from valuegrad import arguments, modes
from valuegrad.custom import remembering_rules
from valuegrad.errors import IndexRangeError, ShapeError, ValueArgumentError, ValueTypeError
from valuegrad.higher import Linearised, depends_on_older
from valuegrad.structures import Tree
from valuegrad.value import Value, identity, sweep, zero_grads

__all__ = [
    "DifferentiatedCall", "argument_positions", "check_function", "differentiating", "named", "of_program", "several",
]  # fmt: skip


@contextmanager
def differentiating() -> Iterator[bool]:
    """f must remember, in the caller's ``no_grad`` too: then the derivative itself does not.  Gives whether it may."""
    remember = not modes.current() & modes.NO_GRAD
    with remembering_rules(), modes.without(modes.NO_GRAD):
        yield remember


class DifferentiatedCall:
    """One call of f in which the numbers to differentiate by are fresh Values.

    Args:
        who: the function that was called, for messages.
        f: the function to differentiate.
        args: its positional arguments.
        kwargs: its keyword arguments, handed through.
        argnums: the positions of the arguments to differentiate by.
        remember: whether derivatives may be Values (else they are numbers alone).
    """

    def __init__(
        self, who: str, f: Any, args: Sequence[Any], kwargs: dict[str, Any], argnums: Sequence[int], remember: bool
    ) -> None:
        self.who = who
        self.remember = remember
        self.trees = [Tree(f"{who}, argument {i}", args[i]) for i in argnums]
        given = [x for tree in self.trees for x in tree.numbers]
        if not given:
            raise ValueArgumentError(
                f"{who} got no numbers to differentiate by in argument {', '.join(map(str, argnums))}; "
                "give at least one, or another argnums"
            )
        self.recorder = modes.recorder()
        if self.recorder is not None:  # a graph differentiates by nodes of their own
            given = [x if type(x) is Value else Value(x) for x in given]
            self.inputs = [*map(identity, given)]
        else:
            self.inputs = [identity(x) if type(x) is Value else Value(x) for x in given]
        if self.recorder is not None:
            self.recorder.stands_for(self.inputs, given)
        self.since: int = self.inputs[0]._created
        self.given_values = Value in map(type, given)
        replaced = list(args)
        for i, own in zip(argnums, self.split(self.inputs)):
            replaced[i] = own
        with modes.differentiating(self.inputs) if self.recorder is None else self.recorder.differentiating():
            self.output = f(*replaced, **kwargs)

    def split(self, numbers: Sequence[Any]) -> list[Any]:
        """Numbers, one for each input, in the structure of the arguments."""
        result = []
        start = 0
        for tree in self.trees:
            result.append(tree.build(numbers[start : start + len(tree.numbers)]))
            start += len(tree.numbers)
        return result

    def scalar_output(self) -> Any:
        """The output as a number or Value."""
        y = self.output
        if type(y) is Value:
            return y
        if arguments.is_number(y, Value):
            who = f"{self.who}, the output"
            y = arguments.unmasked(y, who).item() if getattr(y, "ndim", None) == 0 else y
            return y if type(y) is Value else arguments.number(y, who)
        expected = "expected one number"
        if y is None:
            raise ValueTypeError(f"{self.who} got a function that gave None; {expected}: does it lack a return?")
        if isinstance(y, (list, tuple, dict)) or hasattr(y, "ndim"):
            raise ShapeError(
                f"{self.who} got a function that gave {arguments.shown(y)}; {expected}: "
                "use jacobian for a function with several outputs"
            )
        raise ValueTypeError(f"{self.who} got a function that gave {arguments.shown(y)}; {expected}")

    def output_tree(self) -> Tree:
        """The structure of the output, which may be any nesting."""
        return Tree(f"{self.who}, the function's output", self.output)

    def remembers(self, outputs: Sequence[Any], others: Sequence[Any] = ()) -> bool:
        """Whether derivatives of these outputs (or the other factors) depend on Values that the caller holds."""
        if self.given_values or self.recorder is not None or Value in map(type, others):
            return True
        return depends_on_older([y for y in outputs if type(y) is Value], self.since)

    def gradients(self, y: Any) -> list[float]:
        """∂y/∂input for each input, in floats."""
        with modes.without(modes.RECORDING):
            zero_grads(self.inputs)
        if type(y) is Value and y._created >= self.since:
            sweep(y, self.since)
        return [v._grad for v in self.inputs]

    def linearised(self, outputs: Sequence[Any], remembers: bool) -> Any:
        """The derivative of the outputs (a Linearised), with local gradients that remember or plain ones."""
        if self.recorder is not None:
            return self.recorder.linearised(self.who, self.inputs, outputs)
        # Rules evaluate choices not taken too; the operations were checked already.
        with modes.without(modes.STRICT | modes.RECORDING):
            return Linearised(self.who, self.inputs, outputs, remembers and self.remember)

    def finished(self, numbers: Sequence[Any], remembers: bool) -> list[Any]:
        """Derivatives or outputs as the caller gets them: Values if they remember, else floats."""
        if remembers and self.remember:
            return [x if type(x) is Value else Value(x) for x in numbers]
        plain = [x._data if type(x) is Value else x for x in numbers]
        return [Value(x) for x in plain] if remembers else plain


def name_of(f: Any) -> str:
    return getattr(f, "__name__", type(f).__name__)


def check_function(who: str, f: Any) -> None:
    """Raise ValueTypeError for what cannot be called."""
    if not callable(f):
        raise ValueTypeError(f"{who} got {arguments.shown(f)}; expected a function")


def of_program(f: Any, how: str, argnums: Any) -> Any:
    """The derivative of a compiled program, which is a program again; None for any other function.

    A program says itself what its derivative is: this module knows nothing of programs.
    """
    derived = getattr(type(f), "derived_program", None)
    return None if derived is None else derived(f, how, argnums)


def argument_positions(who: str, argnums: Any, count: int) -> list[int]:
    """The positions of the arguments to differentiate by, from the front."""
    if not count:
        raise IndexRangeError(f"{who} got no positional arguments; give the numbers to differentiate by")
    wanted = argnums if isinstance(argnums, (tuple, list)) else (argnums,)
    if not wanted:
        raise ValueArgumentError(f"{who} got argnums={argnums!r}; give at least one position")
    result = []
    for argnum in wanted:
        i = arguments.integer(argnum, f"{who}, argnums")
        if not -count <= i < count:
            raise IndexRangeError(
                f"{who} got argnums={argnums!r} for {count} positional argument{'s' * (count != 1)}; "
                f"give {-count} to {count - 1}"
            )
        result.append(i % count)
    if len(set(result)) < len(result):
        raise ValueArgumentError(f"{who} got argnums={argnums!r}, which names an argument twice; name each once")
    return result


def several(argnums: Any, parts: Sequence[Any]) -> Any:
    """One derivative for an integer argnums, a tuple of them for a tuple."""
    return tuple(parts) if isinstance(argnums, (tuple, list)) else parts[0]


def named(function: Callable[..., Any], how: str, f: Any) -> Callable[..., Any]:
    """A derivative with its name, ``grad(f)``, and what it is the derivative of."""
    function.__name__ = function.__qualname__ = f"{how}({name_of(f)})"
    function.__doc__ = f"The {how} of {name_of(f)}."
    function.derivative_of = f  # type: ignore[attr-defined]
    return function
