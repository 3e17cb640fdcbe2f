from __future__ import annotations

import pytest

from fgd_yolo.compare.finished_runs import method_of
from fgd_yolo.compare.method_specs import parse_method


@pytest.mark.parametrize(
    "word", ["plain", "fitnet", "fgd", "paper-yolo", "fgd:gradient_ratio=0.2", "fitnet:imitation_weight=2.0"]
)
def test_a_configuration_is_called_as_it_would_be_spelled(word):
    method = parse_method(word)
    assert method_of(method.config) == method
