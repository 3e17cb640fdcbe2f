# The checks of .ci/run, one by one, in the active environment.
.PHONY: format check test test-fast docs docs-serve
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
	pytest

test-fast:
	pytest -m "not slow"

docs:
	mkdocs build --strict

docs-serve:
	mkdocs serve
