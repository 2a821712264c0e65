# `make demo` and `make test` do all the set-up themselves. Needs Python >= 3.11 and make, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo
# The demo's measurements stay in its own folder.
DEMO_ENV := FWPLAN_HOME=$(CURDIR)/$(DEMO)/home

.PHONY: demo test lint bench clean

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("fwplan needs Python >= 3.11, not " + sys.version.split()[0] + ": make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: $(VENV)/.installed
	rm -rf $(DEMO) && mkdir $(DEMO)
	$(BIN)/python -m fwplan.data.corpus $(DEMO)/text.parquet
	$(DEMO_ENV) $(BIN)/fwplan suggest --device cpu --data $(DEMO)/text.parquet --hours 0.025 --context 256 -o $(DEMO)/plan.json
	$(DEMO_ENV) $(BIN)/fwplan explain $(DEMO)/plan.json
	$(DEMO_ENV) $(BIN)/fwplan run $(DEMO)/plan.json

test: lint
	$(BIN)/python -m pytest

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/accuracy.py
	$(BIN)/python benchmarks/estimate_speed.py
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/data_speed.py
	$(BIN)/python benchmarks/data_scale.py
	$(BIN)/python benchmarks/data_kills.py

clean:
	rm -rf $(VENV) $(DEMO) build dist *.egg-info
