# make demo: watch a small GPT learn.  make play: the playground in the browser.  make test: check everything.  make help: the other targets.
#
# A bare machine needs Python 3.10 or newer, and a C compiler for the native engine (without one the
# readable engine runs).  Another Python: make test PYTHON=python3.12.

PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2
PYTEST_ARGS ?=
DEMO_STEPS ?= 1000

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
GENERATED := $(addprefix src/valuegrad/,_native.c _native.pyx _passes.c _replay.c _rules.h _constants.h _opcodes.h)
SOURCES := setup.py pyproject.toml MANIFEST.in README.md \
	$(filter-out $(GENERATED),$(shell find src/valuegrad -type f ! -path '*/__pycache__/*' ! -name '*.pyi' \
		! -name '*.so' ! -name '*.pyd'))

# Two things at once; and files of bytecode, or every process of every test would compile the same modules again.
ifeq ($(MAKELEVEL)$(words $(MAKECMDGOALS)),01)
MAKEFLAGS += -j2
endif
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help demo play test ready lint types tests notebooks bench sanitize clean

help:
	@echo "make demo      make $(VENV), install valuegrad, train a small GPT on names and let it invent some"
	@echo "make play      install and open the playground: a page in the browser"
	@echo "make test      make $(VENV), install valuegrad with the test tools; lint, types, tests on both engines"
	@echo "make notebooks execute the notebooks in docs/notebooks and keep what they give"
	@echo "make bench     measure the speed, against those of benchmarks/requirements.txt that are installed"
	@echo "make sanitize  the tests on compiled modules built with the address and undefined-behaviour sanitizers"
	@echo "make clean     remove $(VENV) and everything that was built"
	@echo "Settings: PYTHON=$(PYTHON) VENV=$(VENV) JOBS=$(JOBS) DEMO_STEPS=$(DEMO_STEPS) PYTEST_ARGS='$(PYTEST_ARGS)'"

# ------------------------------------------------------------------------------------------ installing
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { \
		found=$$(command -v $(PYTHON) >/dev/null && $(PYTHON) --version 2>&1 || echo missing); \
		echo "valuegrad needs Python 3.10 or newer; '$(PYTHON)' is $$found." >&2; \
		echo "Name another one, for example: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "'$(PYTHON) -m venv' failed; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@$(PIP) install --quiet --upgrade pip 2>/dev/null || true # which takes half as long as those that Pythons bring along

# What valuegrad needs, by extra; fetched while the compiler works.
EXTRAS := plot play test
$(EXTRAS:%=$(VENV)/.fetched-%): $(VENV)/.fetched-%: $(BIN)/python requirements.py pyproject.toml
	@echo "fetching what valuegrad[$*] needs into $(VENV) ..."
	@$(BIN)/python requirements.py $* >$(VENV)/requirements-$*.txt
	@$(PIP) install --quiet --no-compile -r $(VENV)/requirements-$*.txt
	@touch $@ $(if $(filter test,$*),$(EXTRAS:%=$(VENV)/.fetched-%))

# What was copied into build/ before may be gone from the sources by now; what was compiled is kept.
$(VENV)/.built: $(BIN)/python $(SOURCES)
	@if [ -d build ]; then find build -type f ! -name '*.o' ! -name '*.so' ! -name '*.pyd' -delete; fi
	@echo "building valuegrad ..."
	@rm -rf $(VENV)/wheel && $(PIP) wheel --quiet --no-deps --wheel-dir $(VENV)/wheel .
	@touch $@

$(EXTRAS:%=$(VENV)/.installed-%): $(VENV)/.installed-%: $(VENV)/.fetched-% $(VENV)/.built
	@$(PIP) install --quiet --no-deps --force-reinstall $(VENV)/wheel/*.whl
	@touch $@ $(if $(filter test,$*),$(EXTRAS:%=$(VENV)/.installed-%))

# ------------------------------------------------------------------------------------------------ demo
demo: $(VENV)/.installed-plot
	@$(BIN)/python -c "import valuegrad as vg; print(f'engine: {vg.engine} ({vg.engine_reason})')"
	$(BIN)/valuegrad train --data names --steps $(DEMO_STEPS) --out runs/demo --force
	$(BIN)/valuegrad sample runs/demo --n 5 --prefix jo

play: $(VENV)/.installed-play
	@$(BIN)/valuegrad play

# ------------------------------------------------------------------------------------------------ tests
# The tests run what was installed, not the source tree: a file missing from the wheel is a failure.
test: ready
	@$(MAKE) --no-print-directory tests

ready: lint types $(VENV)/.installed-test

# Linter and type checker ask for the packages alone, so they are done before the compiler is.
lint: $(VENV)/.fetched-test
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/.fetched-test
	$(BIN)/mypy

# Each worker gets a part of the tests from the list, and takes from the other's when it has done it.  What long programs
# were compiled to is kept for all runs (`kept_code` in tests/conftest.py).
WORKERS := -n $(JOBS) --dist worksteal

# Once more with every program in loops, which is otherwise for long ones: what compiles, in a selection of the random ones.
ROLLED = tests/test_compile.py tests/test_compile_iterate.py tests/test_compile_lanes.py tests/test_compile_paths.py \
	tests/test_compile_threads.py tests/test_gpt_compiled.py tests/test_replaying.py tests/test_sparse.py tests/test_saving.py \
	$(patsubst %,'tests/test_compile_random.py::test_%',\
		strict_programs_are_the_readable_engine_to_the_last_bit[0] default_programs_are_within_four_ulp_an_operation[0])

tests: $(VENV)/.installed-test
	@set -e; failed=0; kept=$$(mktemp -d); trap 'rm -rf "$$kept"' EXIT; export VALUEGRAD_TEST_CACHE="$$kept"; \
	engines=$$($(BIN)/python -c "import valuegrad as vg; print('readable native' if vg.engine == 'native' else 'readable')"); \
	for engine in $$engines; do \
		echo "== the $$engine engine"; \
		VALUEGRAD_ENGINE=$$engine $(BIN)/python -m pytest $(WORKERS) $(PYTEST_ARGS) || failed=1; \
	done; \
	case $$engines in *native*) \
		echo "== the native engine, all programs rolled"; \
		VALUEGRAD_ENGINE=native VALUEGRAD_ROLL=on $(BIN)/python -m pytest $(WORKERS) $(PYTEST_ARGS) $(ROLLED) || failed=1;; \
	*) \
		$(BIN)/python -c "import valuegrad as vg; print('the native engine was not tested:', vg.engine_reason)";; esac; \
	exit $$failed

# Execute the notebooks anew and write their outputs into them (the tests compare what is text).
notebooks: $(VENV)/.installed-test
	$(BIN)/python docs/notebooks/execute.py

bench: $(VENV)/.installed-plot
	$(BIN)/python benchmarks/run_all.py

# Values freed too early, leaks and undefined behaviour.  Every object has its own allocation here (no
# slabs, no pools of Python's), so that the sanitizer sees it.  All three compiled modules are built so; the machine
# code of programs is not looked into, but the tests run the interpreter on the same graphs.
SANITIZED := build/sanitize
sanitize: $(VENV)/.installed-test
	rm -rf $(SANITIZED) && mkdir -p $(SANITIZED)/source
	cp -R setup.py pyproject.toml MANIFEST.in LICENSE README.md src $(SANITIZED)/source
	VALUEGRAD_CFLAGS="-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -DVG_NO_SLABS" \
		VALUEGRAD_LDFLAGS="-fsanitize=address,undefined" \
		$(PIP) install --quiet --no-deps --target $(SANITIZED)/installed $(SANITIZED)/source
	for module in _native _passes _replay; do ls $(SANITIZED)/installed/valuegrad/$$module.*.so >/dev/null || exit 1; done
	PYTHONPATH=$(SANITIZED)/installed VALUEGRAD_ENGINE=native PYTHONMALLOC=malloc \
		ASAN_OPTIONS=detect_leaks=0:log_path=$(SANITIZED)/report \
		UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1:log_path=$(SANITIZED)/report \
		LD_PRELOAD="$$($${CC:-cc} -print-file-name=libasan.so) $$($${CC:-cc} -print-file-name=libstdc++.so)" \
		$(BIN)/python -m pytest $(WORKERS) -p no:cacheprovider $(PYTEST_ARGS); \
	status=$$?; cat $(SANITIZED)/report* 2>/dev/null | head -40; exit $$status

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis src/*.egg-info
	rm -f $(GENERATED) src/valuegrad/_*.so src/valuegrad/_*.pyd
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
