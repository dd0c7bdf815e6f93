# The front door: `make` lists what there is. Needs python3 (3.11 or newer) with venv; everything else is installed in .venv.
PYTHON ?= python3
PORT ?= 8000
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help run test check bench screenshots secrets constraints

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

run: $(VENV)/.run ## install, then serve the app at http://127.0.0.1:8000 (PORT=… for another port)
	@exec $(BIN)/gunicorn --bind 127.0.0.1:$(PORT)

test: $(VENV)/.dev ## install, then run the tests (ARGS=… for pytest)
	$(BIN)/python -m pytest $(ARGS)

check: $(VENV)/.dev ## ruff on everything, mypy --strict on demo/
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.dev ## print ratios against neighbours measured in the same run (ARGS=pages http stampede load patterns limiters sessions leaderboard streams xray shown logging builds, or goals; BENCH_BUILD=commit of an older build)
	$(BIN)/python -m tests.bench $(ARGS)

screenshots: $(VENV)/.dev ## every page in both themes, phone and desktop, into screenshots/
	$(BIN)/python -m tests.browser.screenshots

secrets: ## write passwords for docker compose into .env, where there is none
	@test -e .env || (umask 077 && $(PYTHON) -c 'import secrets; [print(name + "_PASSWORD=" + secrets.token_hex(24)) for name in ("REDIS", "POSTGRES")]' >.env)

constraints: ## pin what the container installs, with the hashes of all its files, in constraints.txt
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && $(PYTHON) -m venv "$$folder" && \
	"$$folder/bin/pip" install --quiet --disable-pip-version-check uv && \
	"$$folder/bin/uv" pip compile requirements.txt --quiet --universal --python-version 3.11 --upgrade --generate-hashes \
	  --no-annotate --no-emit-index-url --custom-compile-command "make constraints" --output-file constraints.txt

$(VENV)/.run: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@
