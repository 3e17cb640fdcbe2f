from __future__ import annotations

import cv2
import pytest

from fgd_yolo.streams.sinks import window
from fgd_yolo.streams.sinks.window import WindowSink
from stream_results import make_result


@pytest.fixture
def screen(monkeypatch):
    """The calls of OpenCV's window functions, which need no screen here; `keys` are the keys pressed."""
    done, keys = [], []
    monkeypatch.setattr(window, "_check_screen", lambda: None)
    monkeypatch.setattr(cv2, "imshow", lambda name, image: done.append((name, image.shape)))
    monkeypatch.setattr(cv2, "waitKey", lambda _: keys.pop(0) if keys else -1)
    monkeypatch.setattr(cv2, "destroyAllWindows", lambda: done.append("closed"))
    return done, keys


def test_each_stream_has_a_window_of_its_name(screen):
    sink = WindowSink()
    sink.write(make_result("door"))
    sink.write(make_result("yard"))
    sink.gap("yard", "refused")
    sink.close()
    assert screen[0] == [("door", (48, 64, 3)), ("yard", (48, 64, 3)), "closed"]


@pytest.mark.parametrize("key", [ord("q"), 27, ord("q") | 0x100000])
def test_q_and_escape_close_the_windows_for_good_and_call_on_quit_once(screen, key):
    done, keys = screen
    quits = []
    sink = WindowSink(lambda: quits.append(True))
    keys += [ord("x"), key]
    assert [sink.write(make_result(index=index)) for index in range(4)] == [None, None, False, False]
    sink.close()
    assert len(done) == 3 and done[2] == "closed" and quits == [True]
