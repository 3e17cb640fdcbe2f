# The checks of .ci/run, one by one, in the active environment. Tests run in one process per core; those of a file stay
# together, since they share what the first of them has trained.
PYTEST = pytest -n auto --dist loadfile

.PHONY: format check test test-fast test-long matrix docs docs-serve
# The theme prints a notice about the future of MkDocs before every build.
docs docs-serve: export NO_MKDOCS_2_WARNING = 1

format:
	ruff check --fix .
	ruff format .

check:
	ruff check .
	ruff format --check .
	lint-imports
	hadolint deploy/Dockerfile

test:
	$(PYTEST)

test-fast:
	$(PYTEST) -m "not slow and not long"

# Further cases of long tests, a few contracts of their own, and a training that is killed ten times, whose student is compared with uninterrupted ones.
test-long:
	KILLS=10 pytest -s -m long

# A run of the tests distils with an eighth of the families; this with all, and rewrites their record and tables.
matrix:
	FAMILIES=all FAMILIES_RECORD=1 pytest tests/integration/test_families.py
	python docs/generators/results_tables.py

docs:
	mkdocs build --strict

docs-serve:
	mkdocs serve
