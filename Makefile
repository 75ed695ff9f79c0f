# Heatdrop on one machine. `make run` is the demo, `make test` the whole gate.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.9
ATHERIS_VERSION := 3.0.0
BUNDLE := build/bundles/chest-xray/bundle.json
OUT ?= out

.PHONY: acceptance setup run deploy test quick ruff mypy imports test-browser test-containers test-faults test-formats test-fuzz lint unit documents lock clean
.DEFAULT_GOAL := help

help:
	@echo "make run    explain the demo radiographs, the whole way, into $(OUT)/"
	@echo "make test   lint, types, template and all tests"
	@echo "make quick  the same without the tests that need TensorFlow, a cloud or more than a few seconds"
	@echo "make deploy STACK=name [REGION=...] [PARAMETERS=\"Name=value ...\"]  build all, deploy it into your AWS account"
	@echo "make test-containers  build the containers and run them, with the SAM CLI and a Docker engine"
	@echo "make test-faults  1,000 random schedules of faults and 10,000 damaged images (SEED, SCHEDULES, FILES)"
	@echo "make test-formats  compare hundreds of image files, real and made, with a second reader"
	@echo "make test-fuzz  let Atheris look for files that break the decoder (SECONDS, 600)"
	@echo "make test-browser  drive the viewer in a headless Chromium, with screenshots in out/browser/"
	@echo "make setup  only install what they need"

setup: $(VENV)/ready $(BUNDLE)

$(VENV)/ready: requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "Python's venv is missing: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --requirement requirements/dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

# Tools that pin old versions of what the product uses live in environments of their own.
TOOLS := build/tools
$(TOOLS)/%/ready: requirements/%.txt | $(VENV)/ready
	$(PYTHON) -m venv $(@D)
	$(BIN)/uv pip install --quiet --python $(@D)/bin/python --requirement $<
	@touch $@

$(BUNDLE): models/chest-xray/model.json models/chest-xray/typicality.npz models/chest-xray/weights.npz | $(VENV)/ready
	@echo "Building the chest X-ray bundle from its weights ..."
	@$(BIN)/heatdrop bundle build
	@touch $@

run: setup
	@$(BIN)/heatdrop run --demo --out $(OUT)

# What is not in PARAMETERS keeps the value that the stack has. A value with a space in it: see `heatdrop deploy --help`.
STACK ?=
deploy: setup $(TOOLS)/sam/ready
	@test -n "$(STACK)" || { echo "Say which: make deploy STACK=heatdrop" >&2; exit 2; }
	@PATH="$(abspath $(TOOLS)/sam/bin):$$PATH" $(BIN)/heatdrop deploy --stack '$(STACK)' \
	  $(if $(REGION),--region '$(REGION)') $(foreach parameter,$(PARAMETERS),--parameter '$(parameter)')

test: setup lint unit

# Against a deployed stack, with your own AWS credentials: what it drops is erased at the end. STACK=local: heatdrop serve.
acceptance: setup
	@test -n "$(STACK)" || { echo "Say which: make acceptance STACK=heatdrop" >&2; exit 2; }
	$(BIN)/heatdrop bench acceptance $(if $(filter local,$(STACK)),--local,--stack $(STACK)) $(ARGUMENTS)

# Two checks at once; what each says is printed in one piece. The template's three run again only when it has changed.
CHECKED := build/checked
lint: $(VENV)/ready $(TOOLS)/checkov/ready $(TOOLS)/sam/ready
	@$(MAKE) --no-print-directory --jobs 2 --keep-going --output-sync \
	  mypy $(CHECKED)/checkov $(CHECKED)/cfn-lint $(CHECKED)/sam ruff imports

ruff:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

mypy:
	$(BIN)/mypy

imports:
	$(BIN)/lint-imports

$(CHECKED)/cfn-lint: template.yaml $(VENV)/ready
	$(BIN)/cfn-lint template.yaml
	@mkdir -p $(@D) && touch $@

$(CHECKED)/sam: template.yaml $(TOOLS)/sam/ready
	SAM_CLI_TELEMETRY=0 $(TOOLS)/sam/bin/sam validate --lint --region eu-west-1
	@mkdir -p $(@D) && touch $@

$(CHECKED)/checkov: template.yaml $(TOOLS)/checkov/ready
	$(TOOLS)/checkov/bin/checkov --file template.yaml --framework cloudformation --skip-download --quiet --compact
	@mkdir -p $(@D) && touch $@

# Needs a Docker engine. HEATMAPS_BASE_IMAGE replaces the public base image of the heatmap container.
test-containers: setup $(TOOLS)/sam/ready
	$(BIN)/pytest -m containers tests/containers

# Random each time; SEED=... repeats a run.
SEED ?= $(shell date +%s)
SCHEDULES ?= 1000
FILES ?= 10000
test-faults: setup
	@echo "SEED=$(SEED) SCHEDULES=$(SCHEDULES) FILES=$(FILES)"
	SEED=$(SEED) SCHEDULES=$(SCHEDULES) FILES=$(FILES) $(BIN)/pytest -rP --hypothesis-seed=$(SEED) tests/faults tests/poison

test-formats: setup
	$(BIN)/pytest -m formats -rP tests/formats

SECONDS ?= 600
# Atheris is for this alone, and not for every Python: it is in no lock.
test-fuzz: setup
	$(BIN)/uv pip install --quiet --python $(BIN)/python atheris==$(ATHERIS_VERSION)
	$(BIN)/python tests/poison/fuzz_decoder.py out/fuzz -max_total_time=$(SECONDS) -timeout=20 -rss_limit_mb=2048

# Chromium and its driver are Debian's; selenium brings none along.
test-browser: setup
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && apt-get install -qq -y --no-install-recommends chromium chromium-driver >/dev/null; \
	  else \
	    echo "Chromium and its driver are missing: sudo apt-get install chromium chromium-driver" >&2; exit 1; \
	  fi; }
	$(BIN)/pytest -m browser tests/browser

# WORKERS test at once. A file stays in one of them, each imports TensorFlow once; what judges by the clock is last, alone.
WORKERS ?= 2
TESTED := $(BIN)/pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder
ELSEWHERE := $(addprefix --ignore tests/,browser containers formats)
unit: setup $(TOOLS)/awscli/ready
	$(TESTED) -m "not timed" $(ELSEWHERE)
	$(BIN)/pytest -m timed $$(grep --recursive --files-with-matches --include='*.py' mark.timed tests)

# What needs neither a model, and so no TensorFlow, nor a cloud.
OF_A_MODEL := keras|_bundle|bundle_copy|packing|saliency|heatdrop.trust|MotoCloud
quick: setup lint
	$(TESTED) -m "not slow and not timed" \
	  $$(grep -rLE --include='test_*.py' '$(OF_A_MODEL)' tests/unit tests/template tests/cost tests/iam)

# Whatever in docs/ is written from the code; tests compare it.
documents: $(VENV)/ready
	$(BIN)/python -m heatdrop.api.describe
	$(BIN)/python -m typer heatdrop.cli.app utils docs --name heatdrop --output docs/commands.md

lock: $(VENV)/ready
	requirements/lock

clean:
	rm -rf build out .mypy_cache .pytest_cache .ruff_cache
