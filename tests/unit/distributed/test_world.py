"""The place of a process among others, as torchrun describes it."""

from __future__ import annotations

import pytest

from fgd_yolo.distributed.world import World, current_world
from fgd_yolo.errors import UsageError

TORCHRUN = {"WORLD_SIZE": "4", "RANK": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"}


@pytest.fixture
def environment(monkeypatch):
    """Set the variables of torchrun; None removes one."""

    def set_all(**changes):
        for name, value in {**TORCHRUN, **changes}.items():
            monkeypatch.delenv(name, raising=False)
            if value is not None:
                monkeypatch.setenv(name, value)

    return set_all


def test_a_process_without_torchrun_trains_alone(environment):
    environment(**dict.fromkeys(TORCHRUN))
    world = current_world()
    assert world == World(size=1, rank=0, local_rank=0, local_size=1)
    assert world.first
    assert not world.several


def test_a_single_process_of_torchrun_trains_alone(environment):
    environment(WORLD_SIZE="1", RANK="0", LOCAL_WORLD_SIZE="1")
    assert not current_world().several


def test_the_place_is_what_torchrun_says(environment):
    environment()
    world = current_world()
    assert world == World(size=4, rank=2, local_rank=0, local_size=2)
    assert world.several
    assert not world.first


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"LOCAL_RANK": None}, "no LOCAL_RANK: start the processes with torchrun"),
        ({"RANK": "two"}, "RANK=two in the environment is not a number"),
        ({"RANK": "4"}, "RANK=4.*contradict each other"),
        ({"LOCAL_RANK": "2"}, "LOCAL_RANK=2.*contradict each other"),
        ({"LOCAL_WORLD_SIZE": "8"}, "LOCAL_WORLD_SIZE=8.*contradict each other"),
    ],
)
def test_an_environment_that_cannot_be_right_is_refused_in_one_line(environment, changes, message):
    environment(**changes)
    with pytest.raises(UsageError, match=message) as error:
        current_world()
    assert "\n" not in str(error.value)
