# Two commands do all the set-up on a machine with Python 3.11 or later and make: `make run` and `make test`.
# Another interpreter: `make run PYTHON=python3.12`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export OMP_NUM_THREADS ?= 1

.PHONY: run test quick check format figures clean

run: $(VENV)/.installed
	$(BIN)/harness run --paradigm rft --seq default

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest

quick: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m "not slow"

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -m "not slow"

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

figures: $(VENV)/.installed
	$(BIN)/harness figures

clean:
	rm -rf $(VENV) build dist *.egg-info

# An environment that exists is kept; the version is asked for first, so that an old Python ends in one clear line.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "error: Python 3.11 or later is needed, but $(PYTHON) is `$(PYTHON) --version 2>&1`: install a newer one" \
	    "and name it, for example: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The stamps make installation a matter of once: it is redone only when pyproject.toml or constraints.txt is newer.
$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/pip
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/pip
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e ".[dev,suites,sweep]"
	@touch $@ $(VENV)/.installed
