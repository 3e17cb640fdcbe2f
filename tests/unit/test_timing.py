from __future__ import annotations

from fgd_yolo import timing


def test_actions_take_turns_after_one_round_of_warm_up():
    calls = []
    timing.minima({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=2)
    assert calls == ["a", "b"] * 3


def test_the_smallest_time_counts_and_the_warm_up_does_not(monkeypatch):
    now = 0.0
    durations = {"a": iter([1, 9, 7, 8]), "b": iter([50, 20, 30, 40])}

    def work(name):
        nonlocal now
        now += next(durations[name])

    monkeypatch.setattr(timing, "perf_counter", lambda: now)
    assert timing.minima({"a": lambda: work("a"), "b": lambda: work("b")}, rounds=3) == {"a": 7, "b": 20}
