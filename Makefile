# Everything runs in .venv, which is made from nothing: `make demo` and `make test` work in a bare clone.
PYTHON ?= python3
VENV := .venv
AIRFLOW := .venv-airflow
PARALLEL := --numprocesses 2 --dist loadfile
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: help demo test test-fast lint format bench airflow schedule clean

help:
	@echo "make demo   install into .venv and build the bundled sample: dumps to two trained models"
	@echo "make test   install into .venv and run the whole test suite"
	@echo "make lint   style and types"
	@echo "make bench  the end-to-end benchmark table"
	@echo "make airflow  Airflow in .venv-airflow, for the DAGs and their tests"
	@echo "make schedule  Airflow with its database, pools and Variables, ready for airflow standalone"

$(VENV)/.demo: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) --editable '.[pipeline,train]'
	@touch $@

$(VENV)/.dev: $(VENV)/.demo
	$(INSTALL) --editable '.[pipeline,train,s3,dev]'
	@touch $@

demo: $(VENV)/.demo
	$(BIN)/corpusmill build examples/sample.toml
	@for run in lstm transformer; do \
	  echo; echo "$$run, going on from 'The city of':"; \
	  $(BIN)/corpusmill sample examples/corpus/runs/$$run --prompt 'The city of' --tokens 80; \
	done

test: $(VENV)/.dev
	$(BIN)/python -m pytest $(PARALLEL)

test-fast: $(VENV)/.dev
	$(BIN)/python -m pytest $(PARALLEL) -m 'not slow'

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/end_to_end.py

# Airflow pins hundreds of packages, so it has an environment of its own; the DAGs only call the command.
$(AIRFLOW)/.done: constraints-airflow.txt
	test -x $(AIRFLOW)/bin/python || $(PYTHON) -m venv $(AIRFLOW)
	$(AIRFLOW)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints-airflow.txt apache-airflow
	@touch $@

airflow: $(AIRFLOW)/.done

# What `. airflow/environment` sets, and what Airflow must know before the first DAG runs.
schedule: $(VENV)/.demo $(AIRFLOW)/.done
	mkdir -p airflow
	printf 'export %s\n' 'PATH="$(CURDIR)/$(AIRFLOW)/bin:$$PATH"' 'AIRFLOW_HOME="$(CURDIR)/airflow"' \
	  'AIRFLOW__CORE__DAGS_FOLDER="$(CURDIR)/dags"' AIRFLOW__CORE__LOAD_EXAMPLES=False > airflow/environment
	test -e corpus.toml || $(BIN)/corpusmill config init > corpus.toml
	. airflow/environment && airflow db migrate && airflow pools import dags/pools.json \
	  && airflow variables set corpusmill_command '$(CURDIR)/$(BIN)/corpusmill' \
	  && airflow variables set corpusmill_config '$(CURDIR)/corpus.toml'

clean:
	rm -rf $(VENV) $(AIRFLOW) build dist *.egg-info examples/corpus
