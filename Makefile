# Heatdrop on one machine. `make run` is the demo, `make test` the whole gate.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.9
BUNDLE := build/bundles/chest-xray/bundle.json
OUT ?= out

.PHONY: setup run test lint unit lock clean
.DEFAULT_GOAL := help

help:
	@echo "make run    explain the demo radiographs, the whole way, into $(OUT)/"
	@echo "make test   lint, types, template and all tests"
	@echo "make setup  only install what both need"

setup: $(VENV)/ready $(BUNDLE)

$(VENV)/ready: requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "Python's venv is missing: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --requirement requirements/dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

$(BUNDLE): models/chest-xray/model.json models/chest-xray/weights.npz | $(VENV)/ready
	@echo "Building the chest X-ray bundle from its weights ..."
	@$(BIN)/heatdrop bundle build
	@touch $@

run: setup
	@$(BIN)/heatdrop run --demo --out $(OUT)

test: setup lint unit

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/cfn-lint template.yaml

unit: setup
	$(BIN)/pytest

lock: $(VENV)/ready
	requirements/lock

clean:
	rm -rf build out .mypy_cache .pytest_cache .ruff_cache
