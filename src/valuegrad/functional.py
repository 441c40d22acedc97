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
``DifferentiatedCall`` is one call of f on fresh Values.

Where to start reading: ``differentiating.DifferentiatedCall``, then ``value_and_grad``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from valuegrad import arguments, modes
from valuegrad.differentiating import (
    DifferentiatedCall,
    argument_positions,
    check_function,
    differentiating,
    named,
    of_program,
    several,
)
from valuegrad.errors import IndexRangeError, ShapeError, ValueTypeError
from valuegrad.higher import VALUES
from valuegrad.structures import Tree
from valuegrad.value import Value, engine

__all__ = ["grad", "hessian", "hvp", "jacobian", "jvp", "value_and_grad", "vjp"]

ArgNums = int | tuple[int, ...]
_NOT_GIVEN: Any = object()

# What a tangent sweep (in Python) costs a node, in backward passes of the engine; measured on a chain of 40,000
# operations: 1,100 ns against 10 (native), 2,200 against 3,600 (readable).  jacobian chooses its mode by it.
FORWARD_COST = 100 if engine == "native" else 1


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
    return of_program(f, "value_and_grad", argnums) or _value_and_grad("value_and_grad()", f, argnums)


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
    program = of_program(f, "grad", argnums)
    if program is not None:
        return program  # type: ignore[no-any-return]
    both = _value_and_grad("grad()", f, argnums)
    return named(lambda *args, **kwargs: both(*args, **kwargs)[1], "grad", f)


def _value_and_grad(who: str, f: Callable[..., Any], argnums: ArgNums) -> Callable[..., tuple[Any, Any]]:
    check_function(who, f)

    def value_and_gradient(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        positions = argument_positions(who, argnums, len(args))
        with differentiating() as remember:
            call = DifferentiatedCall(who, f, args, kwargs, positions, remember)
            y = call.scalar_output()
            remembers = call.remembers([y])
            found = call.linearised([y], True).pullback([1.0]) if remembers and remember else call.gradients(y)
            value = call.finished([y], remembers)[0]
            return value, several(argnums, call.split(call.finished(found, remembers)))

    return named(value_and_gradient, "value_and_grad", f)


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
    return of_program(f, "jacobian", argnums) or _jacobian("jacobian()", f, argnums)


def _jacobian(who: str, f: Callable[..., Any], argnums: ArgNums) -> Callable[..., Any]:
    check_function(who, f)

    def jacobian_of(*args: Any, **kwargs: Any) -> Any:
        positions = argument_positions(who, argnums, len(args))
        with differentiating() as remember:
            call = DifferentiatedCall(who, f, args, kwargs, positions, remember)
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
            blocks.append(several(argnums, parts))
            start += size
        return tree.build_leaves(blocks)

    return named(jacobian_of, "jacobian", f)


def _rows(call: DifferentiatedCall, outputs: Sequence[Any], remembers: bool) -> list[list[Any]]:
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
    program = of_program(f, "hessian", argnums)
    if program is not None:
        return program  # type: ignore[no-any-return]
    both = _value_and_grad("hessian()", f, argnums)
    return named(_jacobian("hessian()", lambda *args, **kwargs: both(*args, **kwargs)[1], argnums), "hessian", f)


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
    program = of_program(f, "jvp", argnums)
    if _both_given(who, primals, tangents):
        return program(primals, tangents, **kwargs) if program else _jvp(who, f, primals, tangents, argnums, kwargs)
    check_function(who, f)
    return program or named(lambda p, t, **kw: _jvp(who, f, p, t, argnums, kwargs | kw), "jvp", f)


def _both_given(who: str, primals: Any, tangents: Any) -> bool:
    if (primals is _NOT_GIVEN) != (tangents is _NOT_GIVEN):
        raise ValueTypeError(f"{who} got primals without tangents, or tangents without primals; give both, or none")
    return primals is not _NOT_GIVEN


def _jvp(
    who: str, f: Callable[..., Any], primals: Any, tangents: Any, argnums: ArgNums | None, kwargs: dict[str, Any]
) -> tuple[Any, Any]:
    check_function(who, f)
    args = primals if type(primals) is tuple else (primals,)
    positions = list(range(len(args))) if argnums is None else argument_positions(who, argnums, len(args))
    if not args:
        raise IndexRangeError(f"{who} got no primals; give the numbers to differentiate by")
    directions = tangents if type(tangents) is tuple and (type(primals) is tuple or len(positions) > 1) else (tangents,)
    if len(directions) != len(positions):
        raise ShapeError(
            f"{who} got {len(positions)} primals and {len(directions)} tangents; give one tangent for each"
        )
    with differentiating() as remember:
        call = DifferentiatedCall(who, f, args, kwargs, positions, remember)
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
    program = of_program(f, "vjp", argnums)
    if program is not None:
        return f(*primals, **kwargs), lambda cotangent: program(primals, cotangent, **kwargs)
    check_function(who, f)
    wanted: Any = tuple(range(len(primals))) if argnums is None else argnums
    positions = argument_positions(who, wanted, len(primals))
    with differentiating() as remember:
        call = DifferentiatedCall(who, f, primals, kwargs, positions, remember)
        tree = call.output_tree()
        older = call.remembers(tree.numbers)
        linearised = call.linearised(tree.numbers, True) if older and remember else None

    def pullback(cotangent: Any) -> Any:
        """The gradients of the sum of cotangent * value."""
        seeds = _matching("vjp(), the cotangent", [cotangent], [tree], "value")
        with differentiating() as call.remember:
            if linearised is not None or Value in map(type, seeds):
                found = (linearised or call.linearised(tree.numbers, older)).pullback(seeds)
            else:
                with modes.without(modes.STRICT):  # the dot product is a means: only its gradient is asked for
                    found = call.gradients(VALUES.dot(tree.numbers, seeds))
        return several(wanted, call.split(call.finished(found, older or Value in map(type, seeds))))

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
    program = of_program(f, "hvp", argnums)
    if not _both_given("hvp()", primals, tangents):
        check_function("hvp()", f)
        return program or named(lambda p, t, **kw: hvp(f, p, t, argnums=argnums, **kwargs, **kw), "hvp", f)
    if program is not None:
        return program(primals, tangents, **kwargs)
    several = type(primals) is tuple
    inner: Any = argnums
    if inner is None:
        inner = tuple(range(len(primals))) if several else 0
    both = _value_and_grad("hvp()", f, inner)
    return _jvp("hvp()", lambda *args, **kw: both(*args, **kw)[1], primals, tangents, argnums, kwargs)[1]
