# `make demo` and `make test` do all the set-up themselves. Needs Python >= 3.11 and make, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo
SHOTS := shots
# The demo's measurements stay in its own folder.
DEMO_ENV := FWPLAN_HOME=$(CURDIR)/$(DEMO)/home

.PHONY: demo test quick lint bench report-shot clean

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("fwplan needs Python >= 3.11, not " + sys.version.split()[0] + ": make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

$(VENV)/.installed-bench: $(VENV)/.installed
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[bench,fast]'
	touch $@

demo: $(VENV)/.installed
	rm -rf $(DEMO) && mkdir $(DEMO)
	$(BIN)/python -m fwplan.data.corpus $(DEMO)/text.parquet
	$(DEMO_ENV) $(BIN)/fwplan suggest --device cpu --data $(DEMO)/text.parquet --hours 0.025 --context 256 -o $(DEMO)/plan.json
	$(DEMO_ENV) $(BIN)/fwplan explain $(DEMO)/plan.json
	$(DEMO_ENV) $(BIN)/fwplan run $(DEMO)/plan.json

# Up to four processes: a test shares nothing with another, and each process that traces or trains takes a gigabyte.
PYTEST := $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal

test: lint
	$(PYTEST)

quick: lint
	$(PYTEST) -m "not slow"

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# What is timed first, on a machine that is still quiet; then what is right, the longest last.
bench: $(VENV)/.installed-bench
	$(BIN)/python benchmarks/estimate_speed.py
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/data_speed.py
	$(BIN)/python benchmarks/data_speed.py --languages --megabytes 40
	$(BIN)/python benchmarks/count_coverage.py
	$(BIN)/python benchmarks/data_scale.py
	$(BIN)/python benchmarks/data_kills.py
	$(BIN)/python benchmarks/doc_commands.py
	$(BIN)/python benchmarks/mem_tracker.py
	$(BIN)/python benchmarks/accuracy.py --compiled
	$(BIN)/python benchmarks/throughput.py
	$(BIN)/python benchmarks/reserved.py
	$(BIN)/python benchmarks/closed_form.py

# Looks at the reports of explain and suggest in a headless Chromium: light and dark, wide and narrow, on paper. Not part of `make test`.
report-shot: $(VENV)/.installed
	$(BIN)/python -m pip install -q --disable-pip-version-check playwright
	command -v chromium >/dev/null || $(BIN)/playwright install chromium
	mkdir -p $(SHOTS)
	$(DEMO_ENV) $(BIN)/fwplan suggest --vram 12 --tokens 10e9 -o $(SHOTS)/plan.json --html $(SHOTS)/suggest.html
	$(DEMO_ENV) $(BIN)/fwplan explain $(SHOTS)/plan.json --trace --html $(SHOTS)/report.html
	$(BIN)/python tools/screenshot.py $(SHOTS)/report.html $(SHOTS)
	$(BIN)/python tools/screenshot.py $(SHOTS)/suggest.html $(SHOTS)

clean:
	rm -rf $(VENV) $(DEMO) $(SHOTS) build dist *.egg-info
