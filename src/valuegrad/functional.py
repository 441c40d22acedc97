"""Derivatives of ordinary functions: grad, value_and_grad, jacobian, hessian, hvp, jvp, vjp.

Why: ``backward`` fills in grads of Values that the caller holds; these functions take and give numbers, and
leave everything the caller holds untouched.  Arguments may be numbers, Values, NumPy arrays of either, and
nestings of them in lists, tuples and dicts; a derivative has the structure of its argument.

How: each number to differentiate by is replaced by a fresh Value, and f is called.  Everything that f
computes is younger than those Values.  If its result depends on nothing older, a backward pass in
floats gives the derivative as plain numbers.  If it does depend on Values that were there before (f is a
closure over some, or was given some), the derivative depends on them too: it is computed over Values
(``higher.Linearised``) and remembers them.  That is how ``grad(grad(f))`` works: the inner call is given
the Values of the outer one.  Inside a function that is recorded (``record.py``) a derivative is only noted, and made
by the passes over graphs afterwards.

Data structures: ``structures.Tree`` is the structure of an argument or a result without its numbers;
``_Call`` is one call of f on fresh Values.

Where to start reading: ``_Call.__init__``, then ``_Call.gradients``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from math import prod
from typing import Any

from valuegrad import arguments, modes
from valuegrad.custom import remembering_rules
from valuegrad.errors import IndexRangeError, ShapeError, ValueArgumentError, ValueTypeError
from valuegrad.higher import VALUES, Linearised, depends_on_older
from valuegrad.structures import Tree
from valuegrad.value import Value, engine, identity, sweep, zero_grads

__all__ = ["grad", "hessian", "hvp", "jacobian", "jvp", "value_and_grad", "vjp"]

ArgNums = int | tuple[int, ...]
_NOT_GIVEN: Any = object()

# What a tangent sweep (in Python) costs a node, in backward passes of the engine; measured on a chain of 40,000
# operations: 1,100 ns against 10 (native), 2,200 against 3,600 (readable).  jacobian chooses its mode by it.
FORWARD_COST = 100 if engine == "native" else 1


# ------------------------------------------------------------------------------------------- one call of f
@contextmanager
def _differentiating() -> Iterator[bool]:
    """f must remember, in the caller's ``no_grad`` too: then the derivative itself does not.  Gives whether it may."""
    remember = not modes.current() & modes.NO_GRAD
    with remembering_rules(), modes.without(modes.NO_GRAD):
        yield remember


class _Call:
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
        self.inputs = [identity(x) if type(x) is Value else Value(x) for x in given]
        if self.recorder is not None:
            self.recorder.stands_for(self.inputs, given)
        self.since: int = self.inputs[0]._created
        self.given_values = Value in map(type, given)
        replaced = list(args)
        for i, own in zip(argnums, self.split(self.inputs)):
            replaced[i] = own
        with nullcontext() if self.recorder is None else self.recorder.differentiating():
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
            y = y.item() if getattr(y, "ndim", None) == 0 else y
            return y if type(y) is Value else arguments.number(y, f"{self.who}, the output")
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


def _name(f: Any) -> str:
    return getattr(f, "__name__", type(f).__name__)


def _check_function(who: str, f: Any) -> None:
    if not callable(f):
        raise ValueTypeError(f"{who} got {arguments.shown(f)}; expected a function")


def _of_program(f: Any, how: str, argnums: Any) -> Any:
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


def _several(argnums: Any, parts: Sequence[Any]) -> Any:
    """One derivative for an integer argnums, a tuple of them for a tuple."""
    return tuple(parts) if isinstance(argnums, (tuple, list)) else parts[0]


def _named(function: Callable[..., Any], how: str, f: Any) -> Callable[..., Any]:
    function.__name__ = function.__qualname__ = f"{how}({_name(f)})"
    function.__doc__ = f"The {how} of {_name(f)}."
    return function


# --------------------------------------------------------------------------------------- reverse mode: scalars
def value_and_grad(f: Callable[..., Any], argnums: ArgNums = 0) -> Callable[..., tuple[Any, Any]]:
    """The function that gives f's value and its gradient, for one evaluation of f.

    Args:
        f: a function whose output is one number.
        argnums: which positional argument to differentiate by, or a tuple of several.

    Returns:
        A function of f's arguments (keyword arguments are handed through) that gives (value, gradient);
        see ``grad`` for the gradient.

    Raises:
        As ``grad``.

    Example:
        >>> import valuegrad as vg
        >>> vg.value_and_grad(lambda x: x * x)(3.0)
        (9.0, 6.0)
    """
    return _of_program(f, "value_and_grad", argnums) or _value_and_grad("value_and_grad()", f, argnums)


def grad(f: Callable[..., Any], argnums: ArgNums = 0) -> Callable[..., Any]:
    """The gradient of a function, as a function of the same arguments.

    Args:
        f: a function whose output is one number.  It takes numbers, Values, NumPy arrays of either, and
            lists, tuples and dicts of such, and computes with operators, ``vg.*`` and ``valuegrad.math``.
        argnums: which positional argument to differentiate by, or a tuple of several.

    Returns:
        A function of f's arguments (keyword arguments are handed through).  It gives the gradient in the
        structure of the argument (a NumPy array gives a NumPy array), or a tuple of such if argnums is one.
        Its numbers are plain floats; where an argument is a Value, or f is a closure over Values that its
        result depends on, they are Values that remember those, so a gradient can be differentiated again.
        (Inside ``no_grad`` they are leaves.)

    Raises:
        ValueTypeError: f is no function or gives no number, or an argument holds something else than numbers.
        ShapeError: f gives several numbers; use ``jacobian``.
        IndexRangeError: argnums is out of range.
        DerivativeError: the derivative of a local gradient is asked of a custom Value, which does not have it.

    Example:
        >>> import valuegrad as vg
        >>> cube = lambda x: x ** 3
        >>> vg.grad(cube)(2.0), vg.grad(vg.grad(cube))(2.0)
        (12.0, 12.0)
        >>> vg.grad(lambda p: p["w"] * 3 + p["b"])({"w": 2.0, "b": 1.0})
        {'w': 3.0, 'b': 1.0}

    Source: reverse mode, Griewank and Walther, Evaluating Derivatives, 2nd ed. (2008), chapter 3.
    """
    program = _of_program(f, "grad", argnums)
    if program is not None:
        return program  # type: ignore[no-any-return]
    both = _value_and_grad("grad()", f, argnums)
    return _named(lambda *args, **kwargs: both(*args, **kwargs)[1], "grad", f)


def _value_and_grad(who: str, f: Callable[..., Any], argnums: ArgNums) -> Callable[..., tuple[Any, Any]]:
    _check_function(who, f)

    def value_and_gradient(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        positions = argument_positions(who, argnums, len(args))
        with _differentiating() as remember:
            call = _Call(who, f, args, kwargs, positions, remember)
            y = call.scalar_output()
            remembers = call.remembers([y])
            found = call.linearised([y], True).pullback([1.0]) if remembers and remember else call.gradients(y)
            value = call.finished([y], remembers)[0]
            return value, _several(argnums, call.split(call.finished(found, remembers)))

    return _named(value_and_gradient, "value_and_grad", f)


# ------------------------------------------------------------------------------------ several outputs, higher orders
def jacobian(f: Callable[..., Any], argnums: ArgNums = 0) -> Callable[..., Any]:
    """All first derivatives of a function with any number of outputs.

    Args:
        f: a function whose output is a number, or any nesting of numbers and NumPy arrays.
        argnums: which positional argument to differentiate by, or a tuple of several.

    Returns:
        A function of f's arguments.  It gives f's output with each number replaced by that number's gradient,
        in the structure of the argument; an array of shape (m, ...) differentiated by an array of shape
        (n, ...) gives an array of shape (m, ..., n, ...).  Forward or reverse mode, whichever is cheaper.

    Raises:
        As ``grad``, but for outputs of any structure.

    Example:
        >>> import valuegrad as vg
        >>> vg.jacobian(lambda x: [x[0] * x[1], x[0] + x[1]])([3.0, 5.0])
        [[5.0, 3.0], [1.0, 1.0]]
    """
    return _of_program(f, "jacobian", argnums) or _jacobian("jacobian()", f, argnums)


def _jacobian(who: str, f: Callable[..., Any], argnums: ArgNums) -> Callable[..., Any]:
    _check_function(who, f)

    def jacobian_of(*args: Any, **kwargs: Any) -> Any:
        positions = argument_positions(who, argnums, len(args))
        with _differentiating() as remember:
            call = _Call(who, f, args, kwargs, positions, remember)
            tree = call.output_tree()
            remembers = call.remembers(tree.numbers)
            rows = [call.finished(row, remembers) for row in _rows(call, tree.numbers, remembers)]
        blocks = []
        start = 0
        for shape in tree.shapes:
            size = prod(shape or ())
            parts = []
            column = 0
            for own in call.trees:
                stop = column + len(own.numbers)
                parts.append(own.build_rows([row[column:stop] for row in rows[start : start + size]], shape))
                column = stop
            blocks.append(_several(argnums, parts))
            start += size
        return tree.build_leaves(blocks)

    return _named(jacobian_of, "jacobian", f)


def _rows(call: _Call, outputs: Sequence[Any], remembers: bool) -> list[list[Any]]:
    """∂output/∂input, a row for each output."""
    n, m = len(call.inputs), len(outputs)
    if not (remembers and call.remember) and n * FORWARD_COST >= m:
        return [call.gradients(y) for y in outputs]
    linearised = call.linearised(outputs, remembers)
    if n < m:
        columns = [linearised.pushforward(unit) for unit in _units(n)]
        return [list(row) for row in zip(*columns)]
    return [linearised.pullback(unit) for unit in _units(m)]


def _units(n: int) -> list[list[float | None]]:
    return [[1.0 if i == j else None for j in range(n)] for i in range(n)]


def hessian(f: Callable[..., Any], argnums: ArgNums = 0) -> Callable[..., Any]:
    """All second derivatives of a function whose output is one number: the jacobian of its gradient.

    Args:
        f: a function whose output is one number.
        argnums: which positional argument to differentiate by, or a tuple of several.

    Returns:
        A function of f's arguments.  An array argument of shape (n,) gives an array of shape (n, n); a dict
        a dict of dicts; a tuple of argnums a tuple of tuples.

    Raises:
        As ``grad``.

    Example:
        >>> import valuegrad as vg
        >>> vg.hessian(lambda x: x[0] ** 2 * x[1])([3.0, 5.0])
        [[10.0, 6.0], [6.0, 0.0]]
    """
    program = _of_program(f, "hessian", argnums)
    if program is not None:
        return program  # type: ignore[no-any-return]
    both = _value_and_grad("hessian()", f, argnums)
    return _named(_jacobian("hessian()", lambda *args, **kwargs: both(*args, **kwargs)[1], argnums), "hessian", f)


# ----------------------------------------------------------------------------------- directions: jvp, vjp, hvp
def jvp(
    f: Callable[..., Any],
    primals: Any = _NOT_GIVEN,
    tangents: Any = _NOT_GIVEN,
    *,
    argnums: ArgNums | None = None,
    **kwargs: Any,
) -> Any:
    """f's value and its derivative in one direction (Jacobian times vector): forward mode.

    Args:
        f: a function of any structure.
        primals: its positional arguments, as a tuple; anything but a tuple is the only argument.
            Without primals and tangents the result is the function of (primals, tangents).
        tangents: the direction, in the structure of primals (or of those that argnums names).
        argnums: the positions of the arguments that move; None for all of them.
        kwargs: keyword arguments, handed through to f.

    Returns:
        (value, tangent), both in the structure of f's output.

    Raises:
        ShapeError: tangents differ from primals in structure; otherwise as ``jacobian``.

    Example:
        >>> import valuegrad as vg
        >>> vg.jvp(lambda x, y: x * y, (3.0, 5.0), (1.0, 10.0))
        (15.0, 35.0)

    Source: forward mode, Griewank and Walther (2008), chapter 3.
    """
    who = "jvp()"
    program = _of_program(f, "jvp", argnums)
    if _both_given(who, primals, tangents):
        return program(primals, tangents, **kwargs) if program else _jvp(who, f, primals, tangents, argnums, kwargs)
    _check_function(who, f)
    return program or _named(lambda p, t, **kw: _jvp(who, f, p, t, argnums, kwargs | kw), "jvp", f)


def _both_given(who: str, primals: Any, tangents: Any) -> bool:
    if (primals is _NOT_GIVEN) != (tangents is _NOT_GIVEN):
        raise ValueTypeError(f"{who} got primals without tangents, or tangents without primals; give both, or none")
    return primals is not _NOT_GIVEN


def _jvp(
    who: str, f: Callable[..., Any], primals: Any, tangents: Any, argnums: ArgNums | None, kwargs: dict[str, Any]
) -> tuple[Any, Any]:
    _check_function(who, f)
    args = primals if type(primals) is tuple else (primals,)
    positions = list(range(len(args))) if argnums is None else argument_positions(who, argnums, len(args))
    if not args:
        raise IndexRangeError(f"{who} got no primals; give the numbers to differentiate by")
    directions = tangents if type(tangents) is tuple and (type(primals) is tuple or len(positions) > 1) else (tangents,)
    if len(directions) != len(positions):
        raise ShapeError(
            f"{who} got {len(positions)} primals and {len(directions)} tangents; give one tangent for each"
        )
    with _differentiating() as remember:
        call = _Call(who, f, args, kwargs, positions, remember)
        moving = _matching(f"{who}, tangents", directions, call.trees, "primals")
        tree = call.output_tree()
        older = call.remembers(tree.numbers)
        remembers = call.remembers(tree.numbers, moving)
        found = call.linearised(tree.numbers, older).pushforward(moving)
        return tree.build(call.finished(tree.numbers, older)), tree.build(call.finished(found, remembers))


def _matching(who: str, given: Sequence[Any], trees: Sequence[Tree], what: str) -> list[Any]:
    """The numbers of something that must have the structure of something else."""
    numbers = []
    for own, tree in zip(given, trees):
        other = Tree(who, own)
        if not other.matches(tree):
            raise ShapeError(f"{who} got {arguments.shown(own)}; expected the structure and shapes of the {what}")
        numbers += other.numbers
    return numbers


def vjp(
    f: Callable[..., Any], *primals: Any, argnums: ArgNums | None = None, **kwargs: Any
) -> tuple[Any, Callable[[Any], Any]]:
    """f's value, and the function from a cotangent of it to gradients (vector times Jacobian): reverse mode.

    Args:
        f: a function of any structure.
        primals: its positional arguments.
        argnums: the positions of the arguments to differentiate by; None for all of them.
        kwargs: keyword arguments, handed through to f.

    Returns:
        (value, pullback).  ``pullback(cotangent)`` takes a cotangent in the structure of the value and gives a
        tuple with a gradient for each argument (or one gradient if argnums is an integer); it may be called
        any number of times.

    Raises:
        ShapeError: (the pullback) the cotangent differs from the value in structure; otherwise as ``jacobian``.

    Example:
        >>> import valuegrad as vg
        >>> value, pullback = vg.vjp(lambda x, y: [x * y, x + y], 3.0, 5.0)
        >>> value, pullback([1.0, 10.0])
        ([15.0, 8.0], (15.0, 13.0))
    """
    who = "vjp()"
    program = _of_program(f, "vjp", argnums)
    if program is not None:
        return f(*primals, **kwargs), lambda cotangent: program(primals, cotangent, **kwargs)
    _check_function(who, f)
    wanted: Any = tuple(range(len(primals))) if argnums is None else argnums
    positions = argument_positions(who, wanted, len(primals))
    with _differentiating() as remember:
        call = _Call(who, f, primals, kwargs, positions, remember)
        tree = call.output_tree()
        older = call.remembers(tree.numbers)
        linearised = call.linearised(tree.numbers, True) if older and remember else None

    def pullback(cotangent: Any) -> Any:
        """The gradients of the sum of cotangent * value."""
        seeds = _matching("vjp(), the cotangent", [cotangent], [tree], "value")
        with _differentiating() as call.remember:
            if linearised is not None or Value in map(type, seeds):
                found = (linearised or call.linearised(tree.numbers, older)).pullback(seeds)
            else:
                with modes.without(modes.STRICT):  # the dot product is a means: only its gradient is asked for
                    found = call.gradients(VALUES.dot(tree.numbers, seeds))
        return _several(wanted, call.split(call.finished(found, older or Value in map(type, seeds))))

    return tree.build(call.finished(tree.numbers, older)), pullback


def hvp(
    f: Callable[..., Any],
    primals: Any = _NOT_GIVEN,
    tangents: Any = _NOT_GIVEN,
    *,
    argnums: ArgNums | None = None,
    **kwargs: Any,
) -> Any:
    """Hessian times vector, without the Hessian: the tangent of f's gradient (forward over reverse).

    Args:
        f: a function whose output is one number.
        primals: its positional arguments, as a tuple; anything but a tuple is the only argument.
            Without primals and tangents the result is the function of (primals, tangents).
        tangents: the vector, in the structure of primals (or of those that argnums names).
        argnums: the positions of the arguments that the Hessian belongs to; None for all of them.
        kwargs: keyword arguments, handed through to f.

    Returns:
        The product, in the structure of tangents.

    Raises:
        As ``jvp`` and ``grad``.

    Example:
        >>> import valuegrad as vg
        >>> vg.hvp(lambda x: x[0] ** 2 * x[1], [3.0, 5.0], [1.0, 0.0])
        [10.0, 6.0]

    Source: Pearlmutter, Fast exact multiplication by the Hessian, Neural Computation 6 (1994).
    """
    program = _of_program(f, "hvp", argnums)
    if not _both_given("hvp()", primals, tangents):
        _check_function("hvp()", f)
        return program or _named(lambda p, t, **kw: hvp(f, p, t, argnums=argnums, **kwargs, **kw), "hvp", f)
    if program is not None:
        return program(primals, tangents, **kwargs)
    several = type(primals) is tuple
    inner: Any = argnums
    if inner is None:
        inner = tuple(range(len(primals))) if several else 0
    both = _value_and_grad("hvp()", f, inner)
    return _jvp("hvp()", lambda *args, **kw: both(*args, **kw)[1], primals, tangents, argnums, kwargs)[1]
