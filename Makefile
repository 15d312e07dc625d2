# Everything runs in .venv, installed from the hash-pinned locks.
PYTHON ?= python3
PIP = .venv/bin/python -m pip --disable-pip-version-check install --quiet --no-deps
OURS = detectors streams dashboards tests
RATCHET = tests/speed/test_ratchet.py
N ?= 200

.PHONY: demo test lint unit ratchet faults quality bench speed screenshots lock clean help
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 10

demo: .venv/.runtime  ## start everything on this machine and play an incident
	@.venv/bin/inferwatch demo

test: lint unit ratchet  ## everything that has to be green, with Apache Kafka and a listening ClickHouse

lint: .venv/.development
	.venv/bin/ruff check $(OURS)
	.venv/bin/ruff format --check --quiet $(OURS)
	.venv/bin/mypy
	.venv/bin/lint-imports --no-cache

unit: export PYTHONDONTWRITEBYTECODE =  # its tests start hundreds of processes of ours
unit: .venv/.development
	.venv/bin/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder -m "not held_out" --ignore $(RATCHET)

ratchet: .venv/.development  # alone, since what runs beside it takes its caches
	.venv/bin/python -m pytest $(RATCHET)

faults: .venv/.development  ## N=200 seeded schedules of faults from SEED (drawn and shown unless set), and minutes without a server
	.venv/bin/python -m tests.integration.faults --schedules $(N) $(if $(SEED),--seed $(SEED))
	FAULTS_OUTAGE_S=60 .venv/bin/python -m pytest tests/integration/faults/test_dependency_faults.py

quality: .venv/.development  ## causes of held-out scenarios; the detectors on ../shared/data into tests/quality/RESULTS.md; TASK=name for one
	.venv/bin/python -m pytest -m held_out tests/scenarios
	.venv/bin/python -m tests.quality $(if $(TASK),--task $(TASK)) $(if $(SEEDS),--seeds $(SEEDS))

bench: .venv/.development  ## measure speed into tests/speed/RESULTS.md; QUICK=1 for the essential part; TASK=name for one; RUNS=n
	.venv/bin/python -m tests.speed.bench $(if $(TASK),--task $(TASK)) $(if $(QUICK),--quick) $(if $(RUNS),--runs $(RUNS))

speed: .venv/.development  ## measure from event to alert at 5,000 events/s into tests/speed/RESULTS-alerts.md
	.venv/bin/python -m tests.speed.alert_latency --write

screenshots: .venv/.development  ## play the demo and take the README's pictures of its reports (needs Chromium)
	.venv/bin/python -m tests.report.screenshots

lock:  ## compile the locks anew from pyproject.toml (needs uv)
	echo 'setuptools>=80' | uv pip compile --quiet pyproject.toml - --extra local --generate-hashes --no-header \
	  --no-annotate --python-version 3.11 --universal --no-emit-package pandas --no-emit-package pyarrow \
	  --output-file requirements.lock
	uv pip compile --quiet pyproject.toml --extra local --extra dev --generate-hashes --no-header --no-annotate \
	  --python-version 3.11 --universal --output-file requirements-dev.lock

clean:  ## remove what make has made, data included
	rm -rf .venv .cache .inferwatch .mypy_cache .pytest_cache .ruff_cache

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "inferwatch needs Python 3.11 or newer; set PYTHON=")'
	$(PYTHON) -m venv .venv

.venv/.runtime: requirements.lock pyproject.toml | .venv/bin/python
	@echo "installing into .venv (once)"
	@$(PIP) --require-hashes -r requirements.lock
	@$(PIP) --no-build-isolation --editable .
	@touch $@

.venv/.development: requirements-dev.lock pyproject.toml | .venv/bin/python
	@$(PIP) --require-hashes -r requirements-dev.lock
	@$(PIP) --no-build-isolation --editable .
	@touch $@ .venv/.runtime
