# `make help` lists what there is. PYTHON names another interpreter, PORT another port, ARGS more of pytest's arguments,
# WORKERS how many processes share the tests.
PYTHON ?= python3
PORT ?= 8000
ARGS ?=
WORKERS ?= 2
VENV := .venv
RUN := $(VENV)/bin/python
export PYTHON
# The tests have settings of their own, whatever the site's are.
HERMETIC := env -u DATABASE_URL -u SAMESEED_DATA -u SAMESEED_SECRET_KEY -u SAMESEED_DEBUG -u SAMESEED_HOSTS -u SAMESEED_HTTPS -u SAMESEED_IMAGES -u SAMESEED_S3_ENDPOINT

# An interpreter that has gone from the machine takes its .venv with it.
ifneq ($(shell $(RUN) -c 'print(1)' 2>/dev/null),1)
ABSENT := absent
endif

.PHONY: help setup run test lint format clean absent
.DEFAULT_GOAL := help

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

setup: $(VENV)/.installed ## make .venv and install the pinned dependencies [PYTHON=python3]
	@echo ".venv is ready"

run: $(VENV)/.installed ## make 40 pairs the first time, and serve the survey [PORT=8000]
	@$(RUN) manage.py quickstart --port $(PORT)

test: lint ## check everything: linters, types, imports, tests [ARGS="-k name" WORKERS=2]
	@echo "== pytest"
	@browser=$$(tools/ensure_chromium) && \
	SAMESEED_CHROMIUM="$$browser" OMP_NUM_THREADS=1 $(HERMETIC) tools/with_postgres \
		$(RUN) -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

lint: $(VENV)/.installed-dev ## the checks that run nothing
	@echo "== ruff check"
	@$(RUN) -m ruff check .
	@echo "== ruff format"
	@$(RUN) -m ruff format --check .
	@echo "== mypy --strict"
	@$(RUN) -m mypy .
	@echo "== djlint"
	@$(RUN) -m djlint --quiet --check templates
	@$(RUN) -m djlint --quiet --lint templates
	@echo "== import-linter"
	@$(VENV)/bin/lint-imports --no-logo

format: $(VENV)/.installed-dev ## lay out Python and templates
	@$(RUN) -m ruff check --fix .
	@$(RUN) -m ruff format .
	@$(RUN) -m djlint --quiet --reformat templates

clean: ## remove .venv and every cache; data/ stays
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# The stamps are laid when pip has succeeded, and are out of date when the list of dependencies changes.
$(VENV)/.installed: pyproject.toml constraints.txt $(ABSENT)
	@tools/install
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@tools/install dev
	@touch $@
