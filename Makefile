# SPDX-License-Identifier: AGPL-3.0-or-later
# `make help` lists the targets. All run from this folder, with relative paths: its name may hold spaces.

PYTHON := .venv/bin/python
MAKE_VENV := ./dockerfile_scripts/make_venv.sh
# Most tests wait for other processes; those of one module share what they started.
TWO_AT_ONCE := -n 2 --dist loadfile
OF_EXTRAS := tests/unit/test_embedders.py tests/unit/test_rerankers.py tests/unit/test_local_language_models.py

.DEFAULT_GOAL := help
.PHONY: help run register test test-all check format lock sbom audit licences bench trust clean core tools

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

run: core ## Set up, index the samples, print two cited answers, serve on port 10034
	@$(PYTHON) main.py demo

register: core ## Print the occ lines that register this program with Nextcloud, secret included
	@$(PYTHON) main.py register

test: tools ## Install what tests need, and run all but the slow ones
	@$(PYTHON) -m pytest -m "not slow" $(TWO_AT_ONCE)

test-all: tools ## Run the slow tests, and those of models that need the extras
	@./dockerfile_scripts/make_extras.sh
	@$(PYTHON) -m pytest -m slow -n 2
	@$(PYTHON) -m pytest $(OF_EXTRAS) $(TWO_AT_ONCE)

check: tools ## Format, lint, types and unit tests: under two minutes
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m mypy
	@$(PYTHON) -m pytest tests/unit -m "not slow" -n 3 --dist loadfile  # of these, more wait for time to pass

format: tools ## Format the code
	@$(PYTHON) -m ruff format .
	@$(PYTHON) -m ruff check --fix .

bench: tools ## Measure indexing, parsing, embedding, questions and answers over HTTP, and searches in 100 000 chunks
	@$(PYTHON) -m benchmarks.indexing
	@$(PYTHON) -m benchmarks.parsing
	@$(PYTHON) -m benchmarks.embedding
	@$(PYTHON) -m benchmarks.questions
	@$(PYTHON) -m benchmarks.answers
	@$(PYTHON) -m benchmarks.search

trust: tools ## Kill, cut and fill while people work, SEEDS=n times (10): a table by fault, and trust.json
	@$(PYTHON) -m tests.trust $(or $(SEEDS),10) --first $(or $(FIRST),0)

lock: ## Pin all dependencies anew (needs uv)
	@./dockerfile_scripts/lock.sh

sbom: tools ## Write sbom.json, a bill of materials (CycloneDX)
	@./dockerfile_scripts/supply.sh sbom

audit: tools ## Ask PyPI's advisory database about what is pinned (needs a network)
	@./dockerfile_scripts/supply.sh audit

licences: tools ## Write docs/licences.md
	@$(PYTHON) dockerfile_scripts/licences.py

clean: ## Remove the environment and caches; the index stays
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis

core:
	@$(MAKE_VENV) requirements.txt

tools:
	@$(MAKE_VENV) requirements.lock
