# The checks of .ci/run, one by one, in the active environment.
.PHONY: format check test test-fast

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
