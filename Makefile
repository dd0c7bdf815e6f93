# The front door: `make` lists what there is. Needs python3 (3.11 or newer) with venv; everything else is installed in .venv.
PYTHON ?= python3
PORT ?= 8000
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help run test check bench screenshots

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

bench: $(VENV)/.dev ## print ratios against neighbours measured in the same run (ARGS=pages http stampede load patterns limiters sessions leaderboard streams xray)
	$(BIN)/python -m tests.bench $(ARGS)

screenshots: $(VENV)/.dev ## every page in both themes, phone and desktop, into screenshots/
	$(BIN)/python -m tests.browser.screenshots

$(VENV)/.run: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@
