"""The build: generate what is derived from the primitives table, then compile the native engine.

Where there is no C compiler (or no Cython) the installation goes on without the native engine: the
readable one runs then, and ``valuegrad`` says so.
"""

import os
import sys
from pathlib import Path

from setuptools import Extension, setup

sys.path.insert(0, str(Path(__file__).parent / "src"))
os.environ["VALUEGRAD_ENGINE"] = "readable"  # the build must not load a native engine that it replaces


MODULES = {"_replay": "_replay.pyx", "_native": "_native.pyx", "_passes": "_passes.pyx"}
"""The compiled modules: running recorded graphs; the engine; passes over graphs.  What takes the compiler longest is
first, for they are compiled beside each other."""

# Nobody looks at the processor's floating-point flags; with that said, compilers vectorise loops with floor in them.
LOOPS = ["-fno-trapping-math"]
# An operation is one function when all that it calls is inlined; gcc's own bounds stop short of that in a file of this
# size, which costs up to 40 instructions an operation (benchmarks/instructions.py).  Others ignore the parameters.
INLINED = ["--param=max-inline-insns-single=600", "--param=inline-unit-growth=200"]
OWN_FLAGS = {"_native": INLINED, "_replay": LOOPS}


def native_engine():
    from valuegrad.primitives import formulas, render, stubs

    for derived in (render, stubs, formulas):
        derived.write_all()
    if "sdist" in sys.argv:
        return []  # a source distribution holds what MANIFEST.in names, and no C that Cython would make now
    try:
        from Cython.Build import cythonize
    except ImportError:
        print("valuegrad: Cython is missing, so the native engine is not built", file=sys.stderr)
        return []
    package = "src/valuegrad"
    flags = ["/O2", "/fp:precise"]
    if os.name != "nt":
        # No contraction: a*b + c must round twice, as Python does, for both engines to agree to the last bit.
        flags = ["-O3", "-ffp-contract=off", "-fno-math-errno", "-Wno-unused-function", "-Wno-unused-variable"]
        flags += ["-g0"]  # Python's own often have -g: a quarter more time of the compiler, and larger files
    flags += os.environ.get("VALUEGRAD_CFLAGS", "").split()
    headers = sorted(str(path) for kind in ("h", "pxi") for path in Path(package).glob(f"*.{kind}"))
    extensions = [
        Extension(
            f"valuegrad.{module}",
            [f"{package}/{source}"],
            depends=headers,
            include_dirs=[package],
            extra_compile_args=flags + (OWN_FLAGS.get(module, []) if os.name != "nt" else []),
            extra_link_args=os.environ.get("VALUEGRAD_LDFLAGS", "").split(),
        )
        for module, source in MODULES.items()
        if os.path.exists(f"{package}/{source}")
    ]
    extensions = cythonize(extensions, include_path=[package], quiet=True)
    for extension in extensions:
        extension.optional = True  # a failed compilation is a warning; cythonize() would forget it
    return extensions


# As many at once as there are processors (setuptools: ``build_ext --parallel``).  Microsoft's compiler was not tried.
setup(ext_modules=native_engine(), options={"build_ext": {"parallel": os.name != "nt"}})
