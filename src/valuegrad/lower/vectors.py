"""Operations of a loop's body on vectors, as LLVM IR: loads and stores, arithmetic, choices, calls.

How: a value is a number or, as long as only choices and conditions need it, a mask.  What each operation gives at every
edge is what the interpreter's kernels (``_interpreter.h``, ``_kernels.h``) give, to the last bit.

Where to start reading: ``Vectors.operation``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from valuegrad.lower.inlined import exp, sqrt
from valuegrad.lower.lane_sums import store_totals
from valuegrad.lower.writer import Whole, Writer
from valuegrad.primitives.opcodes import OPS
from valuegrad.roll.groups import GUARD, REDUCE, STORE, STORE_UNIFORM
from valuegrad.roll.kernels import Body
from valuegrad.roll.sequences import Step

__all__ = [
    "ATTRIBUTES",
    "BLOCK",
    "BROADCAST",
    "INLINE",
    "LEAVES",
    "MOST_REGISTERS",
    "SIDE_BY_SIDE",
    "Target",
    "Value",
    "Vectors",
    "is_call",
]

BLOCK = 64  # bytes of a vector, VG_BLOCK_BYTES of _machine.h
MOST_REGISTERS = 32  # of so many bytes, where there are any: AVX-512's
COMPARE = {"lt": "olt", "le": "ole", "eq": "oeq"}
ARITHMETIC = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv"}
BEGIN = {"dot": -0.0, "sum": -0.0, "prod": 1.0, "maximum": -float("inf"), "minimum": float("inf")}
"""What leaves the first term of a list as it is."""

INLINE = frozenset((*COMPARE, *ARITHMETIC, *BEGIN, "and", "or", "not", "select", "neg", "abs", "sqrt", "gather"))
"""Operations that call no function."""

QUICK = {"power": 1.0}
"""Of which number a function is quick, where that is not 0."""

LEAVES = frozenset((STORE, STORE_UNIFORM, REDUCE, GUARD))
"""What leaves the segment."""


def is_call(op: int) -> bool:
    """Whether a segment's operation calls a function."""
    return op < len(OPS) and OPS[op] not in INLINE


BROADCAST, SIDE_BY_SIDE = "broadcast", "side by side"
"""How a vector's elements lie: one for all, contiguous; else so many bytes apart."""

WORTH_A_BRANCH = 8  # vectors that are chosen from

Value = tuple[str, str]
"""("number" or "mask", its name)."""

ATTRIBUTES = 'attributes #0 = { nounwind "prefer-vector-width"="512" }'
"""Of all functions of a module."""


@dataclass(frozen=True)
class Target:
    """What code is written for.

    Args:
        dtype: "float64" or "float32".
        strict: to the last bit what the engines compute.
        fma: dots are fused multiply-adds, where they are not strict.
        function: of an operation the name of the function that computes it, "" if there is none, and how many numbers
            it takes in a register; 0: it takes V numbers from memory.
        registers: so many there are, of V numbers each: MOST_REGISTERS, or fewer where V numbers take several of them.
    """

    dtype: str
    strict: bool
    fma: bool
    function: Callable[[int], tuple[str, int]] = lambda op: ("", 0)
    registers: int = 8  # AVX2 has 16 of half the size

    @property
    def item(self) -> int:
        """Bytes of a number."""
        return 8 if self.dtype == "float64" else 4


class Vectors:
    """What the body of a loop is written with.

    Args:
        target: what it is written for.
        single: one lane, and vectors run along members; else vectors are V lanes.
        block: bytes of a vector: BLOCK; twice as many, of which LLVM makes two registers; or half of them.

    Attributes:
        w: the function being written.
        aligned: of how many bytes the address of a whole vector is a multiple.
        width: elements of a vector; 1: a scalar.
        mask: of which elements there are; None: all.
        along: for each column how a vector's elements lie.
        are_all: there are no lanes but these: sums over them are totals.
        waits_for_divider: much of a loop's time; roots of doubles then do without it.
    """

    def __init__(self, target: Target, single: bool, block: int = BLOCK) -> None:
        self.scalar = "double" if target.dtype == "float64" else "float"
        self.item, self.bits = target.item, 8 * target.item
        self.block = block
        self.lanes = self.block // self.item
        self.aligned = self.item if single else min(block, BLOCK)
        self.target, self.single = target, single
        self.declared: set[str] = set()
        self.w = Writer()
        self.width = self.lanes
        self.mask: str | None = None
        self.along: list[Whole] = []
        self.are_all = self.waits_for_divider = False
        self.counts_lanes = self.calls = False  # whether the function needs %lanes, and room for calls

    # ------------------------------------------------------------------------------------- types and constants
    def type(self, scalar: str | None = None) -> str:
        """The type of a vector of scalars."""
        scalar = scalar or self.scalar
        return scalar if self.width == 1 else f"<{self.width} x {scalar}>"

    def splat(self, scalar: str, value: Whole) -> str:
        """A vector that is the same everywhere."""
        if self.width == 1:
            return str(value)
        t = self.type(scalar)
        one = self.w(f"insertelement {t} poison, {scalar} {value}, i64 0")
        return self.w(f"shufflevector {t} {one}, {t} poison, <{self.width} x i32> zeroinitializer")

    def constant(self, x: float) -> str:
        """A vector of one number."""
        return self.numbers([x] * self.width)

    def numbers(self, xs: Sequence[float]) -> str:
        """A vector of these; of one number a scalar."""
        texts = [f"0x{_bits(_single(x) if self.bits == 32 else x):016X}" for x in xs]
        return texts[0] if len(xs) == 1 else "<" + ", ".join(f"{self.scalar} {text}" for text in texts) + ">"

    def iota(self, step: int = 1) -> str:
        """0, step, 2 step ..."""
        return "<" + ", ".join(f"i64 {i * step}" for i in range(self.width)) + ">"

    def first(self, count: int) -> str:
        """A mask of the first elements."""
        return "<" + ", ".join(f"i1 {int(i < count)}" for i in range(self.width)) + ">"

    def intrinsic(self, name: str, *arguments: str, result: str | None = None, types: list[str] | None = None) -> str:
        """A call of one of LLVM's functions on vectors; its result has the vectors' type."""
        t = result or self.type()
        kinds = types or [t] * len(arguments)
        suffix = f"v{self.width}f{self.bits}" if self.width > 1 else f"f{self.bits}"
        self.declared.add(f"declare {t} @llvm.{name}.{suffix}({', '.join(kinds)})")
        pairs = ", ".join(f"{kind} {argument}" for kind, argument in zip(kinds, arguments))
        return f"call {t} @llvm.{name}.{suffix}({pairs})"

    # ------------------------------------------------------------------------------------------------- memory
    def masked(self, name: str, result: str, suffix: str, *pairs: tuple[str, str]) -> str:
        """A call that reads or writes the elements that there are."""
        full = f"@llvm.masked.{name}.v{self.width}f{self.bits}.{suffix}"
        self.declared.add(f"declare {result} {full}({', '.join(kind for kind, _ in pairs)})")
        return f"call {result} {full}({', '.join(f'{kind} {argument}' for kind, argument in pairs)})"

    def all_or_mask(self) -> tuple[str, str]:
        """A mask with its type, for calls that need one."""
        return f"<{self.width} x i1>", self.mask or self.first(self.width)

    def pointers(self, column: int, where: str, offset: str | None = None) -> str:
        """Addresses of elements that are not contiguous; `offset`: so many bytes further, element by element."""
        w, how = self.w, self.along[column]
        step: Whole = 0 if how == BROADCAST else self.item if how == SIDE_BY_SIDE else how
        if isinstance(step, int):
            moves = self.iota(step)
        else:
            moves = w(f"mul {self.type('i64')} {self.iota()}, {self.splat('i64', step)}")
        if offset is not None:
            moves = w(f"add {self.type('i64')} {moves}, {offset}")
        return w(f"getelementptr i8, ptr {where}, {self.type('i64')} {moves}")

    def gathered(self, pointers: str) -> str:
        """Elements from anywhere."""
        w, t, v = self.w, self.type(), self.width
        address = f"<{v} x ptr>", pointers
        align = "i32", str(self.item)
        return w(self.masked("gather", t, f"v{v}p0", address, align, self.all_or_mask(), (t, "zeroinitializer")))

    def load(self, column: int, where: str) -> str:
        """A column's elements."""
        w, t, how = self.w, self.type(), self.along[column]
        if self.width == 1 or how == BROADCAST:
            return self.splat(self.scalar, w(f"load {self.scalar}, ptr {where}, align {self.item}"))
        if how == -self.item and self.single:
            with self.forwards(column, where) as first:
                found = self.load(column, first)
            return self.reversed(t, found)
        if how != SIDE_BY_SIDE:
            return self.gathered(self.pointers(column, where))
        if self.mask is None:
            return w(f"load {t}, ptr {where}, align {self.aligned}")
        align = "i32", str(self.item)
        return w(self.masked("load", t, "p0", ("ptr", where), align, self.all_or_mask(), (t, "zeroinitializer")))

    def store(self, column: int, where: str, value: str) -> None:
        """A column's elements."""
        t, how, v = self.type(), self.along[column], self.width
        align = "i32", str(self.item)
        if v == 1 or (how == SIDE_BY_SIDE and self.mask is None):
            self.w.do(f"store {t} {value}, ptr {where}, align {self.item if v == 1 else self.aligned}")
        elif how == -self.item and self.single:
            with self.forwards(column, where) as first:
                self.store(column, first, self.reversed(t, value))
        elif how == SIDE_BY_SIDE:
            self.w.do(self.masked("store", "void", "p0", (t, value), ("ptr", where), align, self.all_or_mask()))
        else:
            to = f"<{v} x ptr>", self.pointers(column, where)
            self.w.do(self.masked("scatter", "void", f"v{v}p0", (t, value), to, align, self.all_or_mask()))

    @contextmanager
    def forwards(self, column: int, where: str) -> Iterator[str]:
        """Inside, a column that runs backwards is side by side, from the address that this gives."""
        mask, how = self.mask, self.along[column]
        self.along[column] = SIDE_BY_SIDE
        if mask is not None:
            self.mask = self.reversed(self.type("i1"), mask)
        yield self.w(f"getelementptr i8, ptr {where}, i64 {(1 - self.width) * self.item}")
        self.mask, self.along[column] = mask, how

    def reversed(self, t: str, vector: str) -> str:
        """A vector, the last element first."""
        order = ", ".join(f"i32 {i}" for i in reversed(range(self.width)))
        return self.w(f"shufflevector {t} {vector}, {t} poison, <{self.width} x i32> <{order}>")

    def prefetch(self, where: str) -> None:
        """Fetch what will be read and written in a while."""
        self.declared.add("declare void @llvm.prefetch.p0(ptr, i32, i32, i32)")
        self.w.do(f"call void @llvm.prefetch.p0(ptr {where}, i32 1, i32 3, i32 1)")

    # --------------------------------------------------------------------------------------------- operations
    def number(self, value: Value) -> str:
        """A value as a number: 1.0 or 0.0 where it is a mask."""
        kind, name = value
        if kind == "number":
            return name
        t = self.type()
        return self.w(f"select {self.type('i1')} {name}, {t} {self.constant(1.0)}, {t} {self.constant(0.0)}")

    def condition(self, value: Value) -> str:
        """A value as a mask: where it is not zero."""
        kind, name = value
        return name if kind == "mask" else self.w(f"fcmp une {self.type()} {name}, {self.constant(0.0)}")

    def multiply_add(self, a: str, b: str, c: str) -> str:
        """a * b + c, in one rounding where that is allowed."""
        if self.target.fma and not self.target.strict:
            return self.fused(a, b, c)
        return self.w(f"fadd {self.type()} {self.w(f'fmul {self.type()} {a}, {b}')}, {c}")

    def fused(self, a: str, b: str, c: str) -> str:
        """a * b + c in one rounding."""
        return self.w(self.intrinsic("fma", a, b, c))

    def beginning(self, op: int) -> str:
        """What a list's total begins with."""
        return self.constant(BEGIN[OPS[op]])

    def joined(self, op: int, total: str | None, x: str, y: str | None) -> str:
        """A list's total with one more term, of a dot x * y; None: it is the first."""
        w, t, name = self.w, self.type(), OPS[op]
        if name == "dot":
            return w(f"fmul {t} {x}, {y}") if total is None else self.multiply_add(x, str(y), total)
        if total is None:
            return x
        if name in ("sum", "prod"):
            return w(f"{'fadd' if name == 'sum' else 'fmul'} {t} {total}, {x}")
        better = w(f"fcmp {'ogt' if name == 'maximum' else 'olt'} {t} {x}, {total}")
        takes = w(f"or {self.type('i1')} {better}, {w(f'fcmp uno {t} {x}, {x}')}")  # a nan stays
        return w(f"select {self.type('i1')} {takes}, {t} {x}, {t} {total}")

    def operation(self, body: Body | Step, args: list[Value]) -> Value:
        """What a body computes of its operands."""
        w, t, i1, name = self.w, self.type(), self.type("i1"), OPS[body.op]
        if name in COMPARE:
            return "mask", w(f"fcmp {COMPARE[name]} {t} {self.number(args[0])}, {self.number(args[1])}")
        if name in ("and", "or"):
            return "mask", w(f"{name} {i1} {self.condition(args[0])}, {self.condition(args[1])}")
        if name == "not":
            return "mask", w(f"xor {i1} {self.condition(args[0])}, {self.splat('i1', 1)}")
        if name == "select":
            chosen = self.condition(args[0])
            return "number", w(f"select {i1} {chosen}, {t} {self.number(args[1])}, {t} {self.number(args[2])}")
        numbers = [self.number(arg) for arg in args]
        if name in ARITHMETIC:
            return "number", w(f"{ARITHMETIC[name]} {t} {numbers[0]}, {numbers[1]}")
        if name == "neg":
            return "number", w(f"fneg {t} {numbers[0]}")
        if name == "sqrt" and self.waits_for_divider and self.bits == 64 and self.is_wide() and not self.is_half():
            return "number", sqrt(self, *numbers)
        if name in ("abs", "sqrt"):
            return "number", w(self.intrinsic("fabs" if name == "abs" else "sqrt", numbers[0]))
        if name in BEGIN:
            terms = len(numbers) // 2 if name == "dot" else len(numbers)
            total: str | None = None
            for k in range(terms):
                total = self.joined(body.op, total, numbers[k], numbers[k + terms] if name == "dot" else None)
            return "number", total or self.beginning(body.op)
        return "number", self.call(body.op, body.number, numbers)

    def call(self, op: int, number: float, numbers: list[str]) -> str:
        """An elementary function."""
        function, size = self.target.function(op)
        if OPS[op] == "exp" and size and self.is_wide():
            return exp(self, *numbers)
        if not size and self.block > BLOCK:
            raise NotImplementedError(f"{OPS[op]} on several vectors")
        if size:
            return self._call_in_registers(function, size, numbers)
        if not function:
            raise NotImplementedError(f"{OPS[op]} in loops")
        return self._call_through_memory(function, number, numbers, QUICK.get(OPS[op], 0.0))

    def picked(self, first: str, second: str, places: str) -> str:
        """For each element that of two registers, one behind the other, which the lowest bits of its place say."""
        t, whole = self.type(), self.type(f"i{self.bits}")
        name = f"llvm.x86.avx512.vpermi2var.{'ps' if self.bits == 32 else 'pd'}.{8 * self.block}"
        self.declared.add(f"declare {t} @{name}({t}, {whole}, {t})")
        return self.w(f"call {t} @{name}({t} {first}, {whole} {places}, {t} {second})")

    def is_wide(self) -> bool:
        """Whether a vector is one of the registers that AVX-512 has, or half of one, which its operations take, too."""
        return self.target.registers == MOST_REGISTERS and self.block <= BLOCK and self.width == self.lanes

    def is_half(self) -> bool:
        """Whether a vector is half of a register."""
        return self.block < BLOCK

    def _call_through_memory(self, function: str, number: float, numbers: list[str], rest: float) -> str:
        """A function that takes V numbers from memory and leaves its results there.

        In places that are left over is a number of which the function is quick: of what is anything there, some ask the
        C library, number by number; and to repeat the first number costs those as much that go lane by lane.
        """
        w, t = self.w, self.type()
        self.calls = True
        self.declared.add(f"declare void @{function}(ptr, ptr, ptr, double, i64)")
        align = BLOCK if self.width > 1 else self.item
        for room, x in zip("ab", numbers):
            w.do(f"store {self._filled_up(x, rest)}, ptr %{room}, align {BLOCK}")
        second = "%b" if len(numbers) > 1 else "%a"
        w.do(f"call void @{function}(ptr %a, ptr {second}, ptr %out, double 0x{_bits(number):016X}, i64 1)")
        return w(f"load {t}, ptr %out, align {align}")

    def _filled_up(self, x: str, rest: float) -> str:
        """A whole register with its type: the numbers that are given, then others."""
        w, n, t = self.w, self.width, f"<{self.width} x {self.scalar}>"
        whole = BLOCK // self.item
        if n == whole:
            return f"{t} {x}"
        full = f"<{whole} x {self.scalar}>"
        if n == 1:
            others = ", ".join([f"{self.scalar} {rest}"] * whole)
            return f"{full} " + w(f"insertelement {full} <{others}>, {self.scalar} {x}, i64 0")
        others = ", ".join([f"{self.scalar} {rest}"] * n)
        mask = ", ".join(f"i32 {min(i, n)}" for i in range(whole))
        return f"{full} " + w(f"shufflevector {t} {x}, {t} <{others}>, <{whole} x i32> <{mask}>")

    def _call_in_registers(self, function: str, size: int, numbers: list[str]) -> str:
        """A function that takes registers of so many numbers, and gives one.

        Places that are left over repeat the first number: of what is anything there (the logarithm of 0) some functions
        ask the C library, number by number.
        """
        w, n, register = self.w, self.width, f"<{size} x {self.scalar}>"
        if n == 1:
            numbers = [w(f"insertelement <1 x {self.scalar}> poison, {self.scalar} {x}, i64 0") for x in numbers]
        self.declared.add(f"declare {register} @{function}({', '.join([register] * len(numbers))})")
        t, parts = f"<{n} x {self.scalar}>", []
        for first in range(0, n, size):
            mask = ", ".join(f"i32 {i if i < n else 0}" for i in range(first, first + size))
            operands = [
                x if n == size else w(f"shufflevector {t} {x}, {t} poison, <{size} x i32> <{mask}>") for x in numbers
            ]
            parts.append(w(f"call {register} @{function}({', '.join(f'{register} {x}' for x in operands)})"))
        if n == 1:
            return w(f"extractelement {register} {parts[0]}, i64 0")
        if n == size:
            return parts[0]
        mask = ", ".join(f"i32 {i}" for i in range(n))
        second = parts[1] if len(parts) > 1 else "poison"
        return w(f"shufflevector {register} {parts[0]}, {register} {second}, <{n} x i32> <{mask}>")

    def counted(self, names: Sequence[str]) -> list[str]:
        """Vectors for sums over the lanes: -0.0, which adds nothing, in lanes that do not count."""
        w, t = self.w, self.type()
        self.counts_lanes = True

        def chosen() -> list[str]:
            return [w(f"select {self.type('i1')} %lanes, {t} {x}, {t} {self.constant(-0.0)}") for x in names]

        if len(names) < WORTH_A_BRANCH:
            return chosen()
        before, some, done = w.block, w.label(), w.label()
        w.do(f"br i1 %are_all, label %{done}, label %{some}")
        w.at(some)
        masked = chosen()
        w.do(f"br label %{done}")
        w.at(done)
        return [w(f"phi {t} [{x}, %{before}], [{y}, %{some}]") for x, y in zip(names, masked)]

    def leave(self, body: Body | Step, value: Value, where: str, number: Whole) -> None:
        """What goes out of the segment: to memory at `where`; of a guard its `number`."""
        w, t, i1 = self.w, self.type(), self.type("i1")
        if body.op in (STORE, STORE_UNIFORM, REDUCE):
            name = self.number(value)
            if body.op == REDUCE and not self.single:
                (counted,) = self.counted([name])
                if self.are_all:
                    store_totals(self, [counted], [(where, 0)])
                    return
                before = w(f"load {t}, ptr {where}, align {BLOCK}")
                name = w(f"fadd {t} {before}, {counted}")
            self.store(body.out, where, name)
            return
        assert body.op == GUARD
        holds, words = self.condition(value), self.type("i32")
        fails = w(f"xor {i1} {holds}, {self.splat('i1', 1)}") if body.number else holds
        guard = self.splat("i32", w(f"trunc i64 {number} to i32"))
        before = w(f"load {words}, ptr %failed, align 4")
        first = w(f"and {i1} {fails}, {w(f'icmp slt {words} {guard}, {before}')}")
        w.do(f"store {words} {w(f'select {i1} {first}, {words} {guard}, {words} {before}')}, ptr %failed, align 4")


def _bits(x: float) -> int:
    number: int = struct.unpack("Q", struct.pack("d", x))[0]
    return number


def _single(x: float) -> float:
    number: float = struct.unpack("f", struct.pack("f", x))[0]
    return number
