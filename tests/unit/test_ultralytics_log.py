"""What Ultralytics prints in a run names real places and has no repetition."""

from __future__ import annotations

import logging
import sys

import pytest
from ultralytics.utils import LOGGER, TQDM, colorstr

from fgd_yolo.ultralytics_log import readable_log, shown_as


@pytest.fixture
def logged(monkeypatch):
    """The messages that Ultralytics logs, without colours or with them."""
    messages: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record):
            messages.append(record.getMessage())

    handler = Handler()
    LOGGER.addHandler(handler)
    yield messages
    LOGGER.removeHandler(handler)


def test_files_that_are_moved_afterwards_are_named_by_their_final_place(logged, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    staged, place = tmp_path / "run/.partial-1-weights", tmp_path / "run/weights"
    with shown_as(staged, place):
        LOGGER.info(f"Optimizer stripped from {staged / 'last.pt'}, 6.2MB")
    LOGGER.info(f"{staged}")
    assert logged == ["Optimizer stripped from run/weights/last.pt, 6.2MB", str(staged)]


@pytest.mark.parametrize(
    "line",
    [
        f"{colorstr('train: ')}Fast image access \u2705 (ping: 0.0 ms)",
        f"{colorstr('val: ')}New cache created: /data/labels/val.cache",
        f"{colorstr('engine/trainer: ')}agnostic_nms=False, amp=True",
        f"\n{'':>3}{'from':>20}{'n':>3}{'params':>10}  {'module':<45}{'arguments':<30}",
        f"{0:>3}{-1!s:>20}{1:>3}{464:10.0f}  {'ultralytics.nn.modules.conv.Conv':<45}{'[3, 16, 3, 2]':<30}",
        f"{11:>3}{[-1, 6]!s:>20}{1:>3}{0:10.0f}  {'torch.nn.modules.upsampling.Upsample':<45}{'[1]':<30}",
        "Freezing layer 'model.22.dfl.conv.weight'",
    ],
)
def test_lines_that_say_nothing_about_a_run_are_left_out(line, logged):
    with readable_log():
        LOGGER.info(line)
    assert logged == []
    LOGGER.info(line)
    assert logged == [line], "after the run everything is printed as before"


@pytest.mark.parametrize(
    "line",
    ["Freezing layer 'model.0.conv.weight'", "narrow summary: 129 layers", "train: Slow image access"],
)
def test_other_lines_stay(line, logged):
    with readable_log():
        LOGGER.info(line)
    assert logged == [line]


def test_the_banner_of_ultralytics_is_printed_once_for_each_run(logged):
    banner = "Ultralytics 8.4.190 Python-3.11 CPU"
    for _ in range(2):
        with readable_log():
            LOGGER.info(banner)
            LOGGER.info(banner)
    assert logged == [banner, banner]


@pytest.mark.parametrize("terminal", [False, True])
def test_colours_and_redrawn_bars_are_for_a_terminal(terminal, logged, monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal, raising=False)
    with readable_log():
        LOGGER.info(f"{colorstr('FGD:')} text")
        bar = TQDM(range(3), desc=colorstr("epoch"), mininterval=0)
        assert list(bar) == [0, 1, 2]
    assert logged == [f"{colorstr('FGD:')} text" if terminal else "FGD: text"]
    out = capsys.readouterr().out
    assert out.count("epoch") > 1 if terminal else (out.count("epoch"), "\x1b" in out) == (1, False)
