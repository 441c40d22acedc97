"""From the table to C: what the native engine is compiled from.

Why: an operation is declared once.  ``python -m valuegrad.primitives.render`` (setup.py calls it before
it builds) writes, beside this package's other files:

  * ``_constants.h``     the constants of floats.py;
  * ``_rules.h``         C functions for each row, and ``VG_OPERATIONS``, the table of them;
  * ``_native.pyx``      ``native.pyx`` with the table's methods and functions filled in;
  * ``_opcodes.h``       the numbers of the operations in a graph.

Where to start reading: ``scalar_rule``.
"""

from __future__ import annotations

import math
import re
import textwrap
from pathlib import Path
from typing import Any

from valuegrad.primitives import floats
from valuegrad.primitives.digest import PACKAGE, digest
from valuegrad.primitives.methods import METHODS
from valuegrad.primitives.opcodes import OPS
from valuegrad.primitives.row import Row
from valuegrad.primitives.symbols import Symbol, Symbols, literal
from valuegrad.primitives.table import TABLE

__all__ = ["write_all"]


def scalar_rule(row: Row) -> str:
    """``vg_value_<name>(a, b, ...)`` and ``vg_rule_<name>``: value and local gradients in one go."""
    names = row.arguments
    m = Symbols(TABLE)
    result = row.value(m, *[Symbol(m, name) for name in names])
    parameters = ", ".join(f"const double {name}" for name in names)
    text = f"static inline double vg_value_{row.name}({parameters}) {{\n"
    text += "\n".join([*m.lines, f"    return {literal(result)};", "}"]) + "\n"

    m = Symbols(TABLE)
    arguments = [Symbol(m, name) for name in names]
    for i, name in enumerate(row.children):
        m.line(f"const double {name} = inputs[{i}];")
    if row.static:
        m.line(f"const double {row.static} = fixed;")
    out = m.emit(literal(row.value(m, *arguments)))
    m.line(f"*result = {out.text};")
    for i, grad in enumerate(row.local_grads(m, *arguments, out)):
        m.line(f"grads[{i}] = {literal(grad)};")
    text += f"static inline void vg_rule_{row.name}"
    text += "(ptrdiff_t count, const double *inputs, double fixed, double *result, double *grads) {\n"
    return text + "\n".join(["    (void)count; (void)inputs; (void)fixed;", *m.lines, "}"]) + "\n"


def vector_rule(row: Row) -> str:
    """The same for a row over lists: ``vg_value_<name>(n, x, s)`` and ``vg_rule_<name>``."""
    if row.family:
        return family_rule(row)
    m = Symbols(TABLE)
    result = row.value(m, *_vector_arguments(row, m))
    text = f"static double vg_value_{row.name}(ptrdiff_t n, const double *x, double s) {{\n"
    text += "\n".join(["    (void)s;", *_arrays(row), *m.lines, f"    return {literal(result)};", "}"]) + "\n"

    m = Symbols(TABLE, buffer="g")
    arguments = _vector_arguments(row, m)
    out = Symbol(m, "out")
    m.line(f"const double out = vg_value_{row.name}(n, x, s);")
    m.line("*result = out;")
    grads = row.local_grads(m, *arguments, out)
    for i, grad in enumerate(grads if isinstance(grads, tuple) else (grads,)):
        m.store(grad, f"(g + {i} * n)" if i else "g")
    text += f"static void vg_rule_{row.name}(ptrdiff_t n, const double *x, double s, double *result, double *g) {{\n"
    return text + "\n".join(["    (void)s;", *_arrays(row), *m.lines, "}"]) + "\n"


def family_rule(row: Row) -> str:
    """``vg_value_<name>(n, x, outs)`` for all outputs, ``vg_grads_<name>(n, x, outs, i, g)`` for one of them."""
    m = Symbols(TABLE, buffer="outs")
    m.store(row.value(m, *_vector_arguments(row, m)), "outs")
    text = f"static void vg_value_{row.name}(ptrdiff_t n, const double *x, double *outs) {{\n"
    text += "\n".join([*_arrays(row), *m.lines, "}"]) + "\n"

    m = Symbols(TABLE, buffer="g")
    grads = row.local_grads(m, *_vector_arguments(row, m), m.array("outs"), Symbol(m, "i"))
    m.store(grads, "g")
    text += f"static void vg_grads_{row.name}"
    text += "(ptrdiff_t n, const double *x, const double *outs, double i, double *g) {\n"
    return text + "\n".join(["    (void)x;", *_arrays(row), *m.lines, "}"]) + "\n"


def _vector_arguments(row: Row, m: Symbols) -> list[Any]:
    static: list[Any] = [Symbol(m, "s")] if row.static and not row.family else []
    return [*[m.array(name) for name in row.arguments[: row.vectors]], *static]


def _arrays(row: Row) -> list[str]:
    return [
        f"    const double *{name} = x + {i} * n; (void){name};" for i, name in enumerate(row.arguments[: row.vectors])
    ]


def rules() -> str:
    """``_rules.h``."""
    text = "/* Generated from primitives/table.py by primitives/render.py.  Do not edit. */\n"
    text += '#include "_node.h"\n#include "_ieee.h"\n\n'
    text += "\n".join(f"#define VG_{row.name} {code}" for code, row in enumerate(TABLE.values(), FIRST_OPCODE)) + "\n"
    assert FIRST_OPCODE + len(TABLE) < 256, "a Value keeps its operation in eight bits (_node.h)"
    text += f"#define VG_ROWS {len(TABLE)}\n#define VG_recorded {FIRST_OPCODE + len(TABLE)}\n\n"
    for row in TABLE.values():
        if not row.vectors:
            text += f"static inline double vg_value_{row.name}({', '.join(['const double'] * len(row.arguments))});\n"
        elif not row.family:
            text += f"static double vg_value_{row.name}(ptrdiff_t n, const double *x, double s);\n"
        else:
            text += f"static void vg_value_{row.name}(ptrdiff_t n, const double *x, double *outs);\n"
    for row in TABLE.values():
        text += "\n" + (vector_rule(row) if row.vectors else scalar_rule(row))
    text += "\nstatic const VgOperation VG_OPERATIONS[] = {\n"
    text += '    {"", NULL, NULL, NULL, 0, 0, 0, 0, 0},\n' * FIRST_OPCODE
    for row in TABLE.values():
        pointers = (
            f"NULL, vg_value_{row.name}, vg_grads_{row.name}" if row.family else f"vg_rule_{row.name}, NULL, NULL"
        )
        numbers = (len(row.children), row.vectors, row.static != "", row.skips_zero, row.allows_empty)
        text += f'    {{"{row.name}", {pointers}, {", ".join(str(int(number)) for number in numbers)}}},\n'
    return text + '    {"recorded", NULL, NULL, NULL, 0, 0, 1, 1, 0},\n};\n'


FIRST_OPCODE = 3
"""Opcodes 0, 1 and 2 are a leaf, a constant and a custom Value; the one after the rows is what only recordings have."""


def constants() -> str:
    """``_constants.h``."""
    text = "/* Generated from primitives/floats.py by primitives/render.py.  Do not edit. */\n"
    text += f"#define VG_PI {literal(math.pi)}\n"
    for name, value in vars(floats).items():
        if name.isupper() and isinstance(value, float):
            text += f"#define VG_{name} {literal(value)}\n"
        elif name.isupper() and isinstance(value, tuple):
            text += f"static const double VG_{name}[] = {{{', '.join(literal(x) for x in value)}}};\n"
    return text


def opcodes() -> str:
    """The operations' numbers, and a digest of the sources that the build belongs to."""
    text = 'cdef extern from "_rules.h":\n'
    text += "    enum:\n" + "".join(f"        VG_{name}\n" for name in [*TABLE, "recorded"])
    return text + f'\nDIGEST = "{digest()}"\nFIRST_OPCODE = {FIRST_OPCODE}\n'


def call(row: Row, arguments: tuple[str, ...]) -> str:
    """The expression that applies a row, from its arguments' names."""
    listed = ", ".join(arguments)
    if row.family:
        return f"apply_family(VG_{row.name}, {listed})"
    if row.variadic:
        return f"apply_variadic(VG_{row.name}, {listed})"
    if row.vectors:
        second = arguments[1] if row.vectors == 2 else "None"
        static = arguments[-1] if row.static else "None"
        return f"apply_lists(VG_{row.name}, {arguments[0]}, {second}, {static})"
    if row.static:
        return f"apply_static(VG_{row.name}, {listed})"
    return f"apply{len(arguments)}(VG_{row.name}, {listed})"


def functions() -> str:
    """The module's functions."""
    text = ""
    for row in TABLE.values():
        if row.function:
            parameters = f"*{row.arguments[0]}" if row.variadic else ", ".join(row.arguments) + ", /"
            text += f"\ndef {row.name}({parameters}):\n    {row.doc!r}\n    return {call(row, row.arguments)}\n"
    return text


def methods() -> str:
    """What stands inside ``class Value``."""
    text = ""
    for row in TABLE.values():
        if row.operator and len(row.arguments) == 2:
            # With c_api_binop_methods the one method serves both sides, as the C slot does.
            text += f"\ndef __{row.operator}__(a, b):\n    return operator2(VG_{row.name}, a, b)\n"
        elif row.operator:
            text += f"\ndef __{row.operator}__(self):\n    return apply1(VG_{row.name}, self)\n"
        if row.method:
            others = ("others",) if row.variadic else row.arguments[1:]
            parameters = ", ".join(["self", "/", "*others"] if row.variadic else ["self", *others, "/"])
            arguments = ("(self, *others)",) if row.variadic else ("self", *others)
            text += f"\ndef {row.method}({parameters}):\n    {row.doc!r}\n    return {call(row, arguments)}\n"
    for name, method in METHODS.items():
        text += f"\ndef {name}(self, *args, **kwargs):\n    {method.doc!r}\n"
        text += f"    return explained({name!r}, self, args, kwargs)\n"
    return text


def native() -> str:
    """``_native.pyx``: the handwritten native.pyx, filled in."""
    text = (PACKAGE / "native.pyx").read_text(encoding="utf-8")
    for name, part in (("opcodes", opcodes()), ("methods", methods()), ("functions", functions())):
        marker = re.search(rf"^( *)# <<< {name}: .* >>>\n", text, re.MULTILINE)
        assert marker is not None, f"native.pyx has no line '# <<< {name}: ... >>>'"
        text = text[: marker.start()] + textwrap.indent(part.lstrip("\n"), marker[1]) + text[marker.end() :]
    return "# Generated from native.pyx and primitives/table.py by primitives/render.py.  Do not edit.\n" + text


def graph_opcodes() -> str:
    """``_opcodes.h``."""
    text = "/* Generated from primitives/opcodes.py by primitives/render.py.  Do not edit. */\n"
    text += "#ifndef VALUEGRAD_OPCODES_H\n#define VALUEGRAD_OPCODES_H\nenum {\n"
    text += "".join(f"    VG_OP_{name} = {code},\n" for code, name in enumerate(OPS))
    return text + f"    VG_OP_count = {len(OPS)}\n}};\n#endif\n"


def write_all(target: Path = PACKAGE) -> None:
    """Write the generated files; a file that would not change keeps its date, so that nothing is rebuilt."""
    files = {
        "_constants.h": constants(),
        "_rules.h": rules(),
        "_native.pyx": native(),
        "_opcodes.h": graph_opcodes(),
    }
    for name, text in files.items():
        path = target / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write_all()
