# Every target first installs dseg and its development tools into .venv, if they are not there.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/made-from.txt
MADE_FROM = { echo "$(CURDIR)"; $(PYTHON) --version; cat setup.cfg pyproject.toml; }
DEMO := dseg-demo
JOBS := dseg-jobs
SITE := dseg-site

.PHONY: help install demo test test-all fuzz jobs check docs bench clean

help:
	@echo "make install   the dseg command with its development tools, in .venv"
	@echo "make demo      segment and score the bundled street scenes"
	@echo "make test      the tests (make test-all: the slow ones too)"
	@echo "make fuzz      read thousands of damaged files, other ones each time"
	@echo "make jobs      try the GPU jobs on the CPU, at a small size"
	@echo "make check     lint, types, and whether the docs are up to date and without broken links"
	@echo "make docs      write the generated tables, and the documentation site to $(SITE)"
	@echo "make bench     the speed comparisons under scripts/"

# A .venv made with another setup.cfg, Python or folder is made again.
install:
	@$(MADE_FROM) | cmp -s - $(STAMP) || { \
	  rm -rf .venv && $(PYTHON) -m venv .venv \
	  && $(BIN)/python -m pip install --quiet --upgrade pip \
	  && $(BIN)/python -m pip install --quiet --editable '.[dev]' \
	  && $(MADE_FROM) > $(STAMP); }

demo: install
	$(BIN)/python -m dseg demo --out $(DEMO)

# FUZZ_EXAMPLES of each kind, other ones each time.
fuzz: install
	FUZZ_EXAMPLES=$${FUZZ_EXAMPLES:-2000} $(BIN)/python -m pytest -n 2 tests/test_fuzz.py

# The jobs that run on a machine with a GPU, each from its beginning.
jobs: install
	rm -rf $(JOBS)
	for job in check camvid bundled zoo throughput; do \
	  $(BIN)/python scripts/gpu/job.py $$job --tiny --minutes 5 --out $(JOBS)/$$job || exit 1; done

# Two processes run the test files; each computes on one core.
test: install
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-all: install
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m ""

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python scripts/make_docs.py --check
	$(BIN)/python scripts/make_site.py --check

docs: install
	$(BIN)/python scripts/make_docs.py
	$(BIN)/python scripts/make_site.py --out $(SITE)

bench: install
	$(BIN)/python scripts/bench_eval.py
	$(BIN)/python scripts/bench_transfer.py
	$(BIN)/python scripts/bench_infer.py
	$(BIN)/python scripts/bench_train.py
	$(BIN)/python scripts/bench_allocator.py

clean:
	rm -rf .venv build dist *.egg-info $(DEMO) $(JOBS) $(SITE) .pytest_cache .mypy_cache .ruff_cache .coverage
	find dseg scripts tests -name __pycache__ -type d -prune -exec rm -rf {} +
