"""Processes that this one starts."""

from __future__ import annotations

from functools import partial

import pytest

from fgd_yolo.distributed.launch import launch
from fgd_yolo.errors import FGDError
from ranks import fail, note_rank


@pytest.mark.slow
def test_each_process_knows_its_rank(tmp_path):
    folder = tmp_path / "ranks"
    folder.mkdir()
    launch(partial(note_rank, folder), 2)
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"0": "2", "1": "2"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "message"), [("failed", "ended with an error, which is printed above"), ("killed", "was ended by SIGKILL")]
)
def test_a_process_that_fails_ends_the_training_with_one_line(how, message, capfd):
    with pytest.raises(FGDError, match=rf"the training on 2 devices failed: rank 1 \(process \d+\) {message}") as error:
        launch(partial(fail, how), 2)
    assert "\n" not in str(error.value)
    printed = capfd.readouterr().err.splitlines()
    assert printed == (["error: the disk is full"] if how == "failed" else [])
