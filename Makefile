# make train   runs train.py in an environment of its own, made on first use; ARGS="experiment=... seed=3" is passed on
# make test    style, types and tests in the same environment; ARGS="tests/store -k damaged" is passed on
# make lint    style and types only
# make mutants changes modules that compute numbers, and lists the changes that no test notices; ARGS="--only theory"
# make docs    the documents as a site: open site/index.html
#
# The environment is .venv, with the exact versions of constraints.txt. It is brought up to date whenever pyproject.toml
# or constraints.txt changes; tools for tests come on their first use. PYTHON=... names another Python to make it with.

ARGS ?=
PIP := .venv/bin/python -m pip --disable-pip-version-check --no-input install --constraint constraints.txt
QUIET := --quiet --quiet
# In a terminal, pip shows how far the longest download is.
QUIET_UNLESS_WATCHED := $(shell test -t 2 || echo $(QUIET))
WORKERS := 2

.PHONY: train test lint mutants docs
.DELETE_ON_ERROR:

train: .venv/installed
	@.venv/bin/python train.py $(ARGS)

test: lint
	@OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

lint: .venv/installed-for-tests
	@.venv/bin/python -m ruff check --quiet .
	@.venv/bin/python -m ruff format --quiet --check .
	@.venv/bin/python -m mypy --no-error-summary
	@.venv/bin/lint-imports --no-cache > .venv/imports.log || { cat .venv/imports.log; exit 1; }

mutants: .venv/installed-for-tests
	@OMP_NUM_THREADS=1 .venv/bin/python tools/mutants.py $(ARGS)

docs: .venv/installed-for-tests
	@NO_MKDOCS_2_WARNING=1 .venv/bin/python -m mkdocs build --strict

# torch comes first, and the tools that build packages: nothing after them chooses another build, or fetches tools anew.
.venv/installed: .venv/bin/python pyproject.toml constraints.txt
	@echo "Installing PyTorch into .venv, once; on Linux that is gigabytes, unless pip is told otherwise (see README.md)."
	@$(PIP) $(QUIET_UNLESS_WATCHED) torch setuptools hatchling editables
	@echo "Installing the other packages into .venv: a minute or two."
	@$(PIP) $(QUIET) --no-build-isolation --use-pep517 --editable '.[launchers]'
	@touch $@

.venv/installed-for-tests: .venv/installed
	@echo "Installing the tools for tests and checks into .venv."
	@$(PIP) $(QUIET) --no-build-isolation --use-pep517 --editable '.[test,launchers,optuna,tensorboard,docs]'
	@touch $@

.venv/bin/python:
	@python="$(PYTHON)"; \
	for name in python3 python3.13 python3.12 python3.11; do \
		test -z "$$python" || break; \
		"$$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && python="$$name"; \
	done; \
	if test -z "$$python"; then \
		echo "make: no Python 3.11, 3.12 or 3.13 found; install one, or name it: make PYTHON=/path/to/python3" >&2; exit 1; \
	fi; \
	"$$python" -m venv --clear .venv || { \
		rm -rf .venv; \
		echo "make: $$python could not make .venv; on Debian and Ubuntu that takes the package python3-venv" >&2; exit 1; \
	}
