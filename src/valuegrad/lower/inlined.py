"""exp without a call and a square root without the divider, as LLVM IR, for processors with AVX-512.

Why: after a call all registers may be another's: what a loop keeps in them goes to memory and back, and exp's constants
are read again, which together takes nearly as long as exp itself.  And a processor has one divider, which a root of
eight doubles occupies for 19 cycles and a quotient for 16: a loop with both, as Adam's is, waits for it.

How: exp is the operations of ``vg_exp8`` and ``vg_exp16`` of ``_functions.h``, which says how they work, in their
order: so the bits are the same, and a test compares them.  The root is Newton's, rounded as IEEE-754 asks.

Where to start reading: ``exp``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from valuegrad.lower.vectors import Vectors

__all__ = ["exp", "sqrt"]


@dataclass(frozen=True)
class _Exp:
    """The numbers of an exp.

    Args:
        least: below it the result is 0.
        most: from it on it is inf.
        moved: numbers of this size are multiples of what n is a multiple of.
        log_2: what is taken off first.
        rest: and then.
        coefficients: of r**2, r**3 ... in exp(r).
        power: 2 to the multiples; none where n is whole.
    """

    least: float
    most: float
    moved: float
    log_2: float
    rest: float
    coefficients: tuple[float, ...]
    power: tuple[float, ...] = ()


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(map(float.fromhex, text.split()))


SINGLE = _Exp(
    least=-104.0,
    most=89.0,
    moved=1.5 * 2.0**23,
    log_2=float.fromhex("0x1.62e43p-1"),
    rest=float.fromhex("-0x1.05c61p-29"),
    coefficients=_numbers("0x1.fffffcp-2 0x1.555492p-3 0x1.5558aap-5 0x1.12396cp-7 0x1.6a5228p-10"),
)
DOUBLE = _Exp(
    least=-746.0,
    most=710.0,
    moved=1.5 * 2.0**48,
    log_2=float.fromhex("0x1.62e42fefa39efp-1"),
    rest=float.fromhex("0x1.abc9e3b39803fp-56"),
    coefficients=_numbers(
        "0x1.0000000000004p-1 0x1.5555555555559p-3 0x1.555555547f7d4p-5 "
        "0x1.111111107d6ffp-7 0x1.6c18416b3edccp-10 0x1.a01b9ec45f66p-13"
    ),
    power=tuple(2.0 ** (j / 16) for j in range(16)),
)
"""Of floats and of doubles."""

LOG2_E = float.fromhex("0x1.71547652b82fep+0")

ORDINARY = 2.0**-960, 2.0**1020
"""Whose roots multiply-adds find: nothing on the way is subnormal or too large."""


def exp(v: Vectors, x: str) -> str:
    """exp of a whole register, or of half of one.

    Args:
        v: what the function is written with.
        x: of V numbers.
    """
    w, t, i1, m = v.w, v.type(), v.type("i1"), SINGLE if v.bits == 32 else DOUBLE
    kind, mask = "ps" if v.bits == 32 else "pd", f"i{v.lanes}"

    number = v.constant
    is_there = w(f"fcmp uge {t} {x}, {number(m.least)}")
    is_large = w(f"fcmp olt {t} {number(m.most)}, {x}")
    x = w(f"select {i1} {is_large}, {t} {number(m.most)}, {t} {x}")
    moved = v.fused(x, number(LOG2_E), number(m.moved))
    n = w(f"fsub {t} {moved}, {number(m.moved)}")
    less = w(f"fneg {t} {n}")
    r = v.fused(less, number(m.rest), v.fused(less, number(m.log_2), x))
    r2 = w(f"fmul {t} {r}, {r}")
    of = [number(c) for c in m.coefficients]
    pairs = [v.fused(odd, r, even) for even, odd in zip(of[::2], of[1::2])] + of[len(of) & ~1 :]
    total = pairs.pop()
    while pairs:
        total = v.fused(total, r2, pairs.pop())
    part = v.fused(total, r2, r)
    if m.power:
        power = _power(v, m.power, w(f"bitcast {t} {moved} to {v.type('i64')}"))
        result = v.fused(power, part, power)
    else:
        result = w(f"fadd {t} {number(1.0)}, {part}")
    scale = f"llvm.x86.avx512.mask.scalef.{kind}.{8 * v.block}"
    rounding, nearest = ("", "") if v.is_half() else (", i32", ", i32 4")
    lanes = w(f"bitcast {i1} {is_there} to {mask}")
    if v.lanes < 8:
        mask, lanes = "i8", w(f"zext {mask} {lanes} to i8")
    v.declared.add(f"declare {t} @{scale}({t}, {t}, {t}, {mask}{rounding})")
    return w(f"call {t} @{scale}({t} {result}, {t} {n}, {t} zeroinitializer, {mask} {lanes}{nearest})")


def _power(v: Vectors, powers: Sequence[float], bits: str) -> str:
    """Of the powers that fill two registers, or four, those which the lowest bits say."""
    w, whole = v.w, v.type("i64")
    tables = [v.numbers(powers[k : k + v.lanes]) for k in range(0, len(powers), v.lanes)]
    found = [v.picked(first, second, bits) for first, second in zip(tables[::2], tables[1::2])]
    if len(found) == 1:
        return found[0]
    bit = w(f"and {whole} {bits}, {v.splat('i64', 2 * v.lanes)}")
    is_first = w(f"icmp eq {whole} {bit}, zeroinitializer")
    return w(f"select {v.type('i1')} {is_first}, {v.type()} {found[0]}, {v.type()} {found[1]}")


def sqrt(v: Vectors, x: str) -> str:
    """The square root of a whole register of doubles, correctly rounded.

    The processor's estimate of 1 / sqrt(x), good to 14 bits, is mended twice (Goldschmidt's form of Newton's iteration:
    g goes to sqrt(x), h to half of 1 / sqrt(x)), which leaves g and h with errors below 2.5 * 2**-53.  The rest
    x - g * g is one multiply-add, and g + (x - g * g) * h another, which before it is rounded is at most 2**-49 ulp
    beside the root (Markstein, "Computation of elementary functions on the IBM RISC System/6000 processor", 1990).  Few
    doubles have a root that is so close to the middle of two others that this could matter: a test tries them all.

    0 is its own root.  If a number is neither 0 nor ORDINARY, the divider does the register.

    Args:
        v: what the function is written with.
        x: of V numbers.
    """
    w, t, i1, whole, mask = v.w, v.type(), v.type("i1"), v.type("i64"), f"i{v.lanes}"
    estimate = "llvm.x86.avx512.rsqrt14.pd.512"
    v.declared.add(f"declare {t} @{estimate}({t}, {t}, {mask})")

    def less(a: str) -> str:
        return w(f"fneg {t} {a}")

    half = v.constant(0.5)
    y = w(f"call {t} @{estimate}({t} {x}, {t} zeroinitializer, {mask} -1)")
    g, h = w(f"fmul {t} {x}, {y}"), w(f"fmul {t} {y}, {half}")
    for _ in range(2):
        rest = v.fused(less(g), h, half)
        g, h = v.fused(g, rest, g), v.fused(h, rest, h)
    g = v.fused(v.fused(less(g), g, x), h, g)

    least, most = (v.constant(bound) for bound in ORDINARY)
    is_ordinary = w(f"and {i1} {w(f'fcmp oge {t} {x}, {least}')}, {w(f'fcmp ole {t} {x}, {most}')}")
    is_zero = w(f"icmp eq {whole} {w(f'bitcast {t} {x} to {whole}')}, zeroinitializer")
    found = w(f"select {i1} {is_ordinary}, {t} {g}, {t} {x}")
    lanes = w(f"bitcast {i1} {w(f'or {i1} {is_ordinary}, {is_zero}')} to {mask}")
    before, rare, done = w.block, w.label(), w.label()
    w.do(f"br i1 {w(f'icmp eq {mask} {lanes}, -1')}, label %{done}, label %{rare}")
    w.at(rare)
    divided = w(v.intrinsic("sqrt", x))
    w.do(f"br label %{done}")
    w.at(done)
    return w(f"phi {t} [{found}, %{before}], [{divided}, %{rare}]")
