"""Tests, and the camera simulators in `tests.cameras`, which the benchmarks use too."""
