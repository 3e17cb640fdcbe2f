import sys

from fgd_yolo.streams.steps.step_chain import StepChain
from stream_parts import make_result


def test_steps_are_called_one_after_the_other():
    called = []
    StepChain([lambda result: called.append(1), lambda result: called.append(2)])(make_result())
    assert called == [1, 2]


def test_a_step_that_raises_is_reported_once_and_the_next_one_is_called(capsys):
    called = []

    def breaks(result):
        raise RuntimeError("at rtsp://admin:geheim@10.0.0.7/")

    steps = StepChain([breaks, lambda result: called.append(1)])
    steps(make_result())
    steps(make_result())
    assert called == [1, 1]
    output = capsys.readouterr().err
    assert output.count("door: breaks failed, RuntimeError: at rtsp://") == 1 and output.count("\n") == 1
    assert "geheim" not in output


def test_only_steps_with_a_gap_method_are_notified_and_none_can_break_a_stream(capsys):
    heard = []

    class Hears:
        def gap(self, stream, reason):
            heard.append((stream, reason))

    class Breaks:
        def gap(self, stream, reason):
            raise RuntimeError("no")

    StepChain([lambda result: None, Breaks(), Hears()]).gap("door", "no route")
    assert heard == [("door", "no route")]
    assert "Breaks failed" in capsys.readouterr().err


def test_a_step_that_exits_does_not_end_the_worker(capsys):
    called = []
    StepChain([lambda result: sys.exit("enough"), lambda result: called.append(1)])(make_result())
    assert called == [1]
    assert "failed, SystemExit: enough" in capsys.readouterr().err
