"""Tests, and what the benchmarks share with them: the camera simulators in `tests.cameras`."""
