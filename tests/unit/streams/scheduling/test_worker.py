import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from fgd_yolo.errors import FGDError
from fgd_yolo.runtime import OnnxDetector
from fgd_yolo.streams.scheduling.run_slots import Runs
from fgd_yolo.streams.scheduling.worker import Lane
from onnx_files import save
from stream_parts import make_frame

SIDE = 32


def brightness_file(path, batch=1, side=SIDE, uint8=False):
    """Write a detector of one object whose score is the brightness of the picture."""
    fixed = np.array([16, 16, 8, 8, 0], np.float32).reshape(1, 5, 1)
    scale = np.array([0, 0, 0, 0, 1 / 255 if uint8 else 1], np.float32).reshape(1, 5, 1)
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["means"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Reshape", ["means", "column"], ["brightness"]),
        helper.make_node("Mul", ["brightness", "scale"], ["score"]),
        helper.make_node("Add", ["fixed", "score"], ["output0"]),
    ]
    constants = {"column": np.array([-1, 1, 1]), "scale": scale, "fixed": fixed}
    shape = [batch, side, side, 3] if uint8 else [batch, 3, side, side]
    graph = helper.make_graph(
        nodes,
        "brightness",
        [helper.make_tensor_value_info("images", TensorProto.UINT8 if uint8 else TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [batch, 5, 1])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    layout = '{"version": 1, "preprocessing": {"input": "uint8", "layout": "NHWC", "channels": "BGR", "scale": 1, '
    ours = {"fgd_yolo": layout + '"padding": 114}}'} if uint8 else {}
    said = {"task": "detect", "names": "{0: 'light'}", "stride": "8", "imgsz": f"[{SIDE}, {SIDE}]", "end2end": "False"}
    return save(graph, path, {**said, **ours}, opset=13)


@pytest.fixture
def lane(tmp_path):
    def make(frames=1, **options):
        detector = OnnxDetector(brightness_file(tmp_path / "light.onnx", **options), "cpu", 1, conf=0.01)
        return Lane(detector, Runs(1), frames)

    return make


def scores(outcomes):
    return [round(float(outcome.detections.scores[0]) * 255) for outcome in outcomes]


@pytest.mark.parametrize("uint8", [False, True])
def test_a_frame_gets_its_own_result(lane, uint8):
    lane = lane(uint8=uint8)
    for value in (200, 100, 40):
        frame = make_frame(side=SIDE, value=value)
        (result,) = lane.detect([frame])
        assert result.frame is frame
        assert scores([result]) == [value]
        assert frame.arrived <= result.infer_start <= result.infer_end


@pytest.mark.parametrize("batch", ["frames", 4])
@pytest.mark.parametrize("uint8", [False, True])
def test_frames_that_go_together_do_not_mix(lane, batch, uint8):
    lane = lane(4, batch=batch, uint8=uint8)
    for values in ([10, 20, 30, 40], [50, 60], [70], [80, 90, 100]):
        assert scores(lane.detect([make_frame(side=SIDE, value=value) for value in values])) == values


def test_frames_of_different_sizes_go_together(lane):
    lane = lane(3, batch="frames", side="side")
    frames = [make_frame(side=SIDE, value=value) for value in (50, 60, 70)]
    frames[1].picture = frames[1].picture[:, :16]
    assert scores(lane.detect(frames)) == [50, 60, 70]


def test_a_file_of_fixed_size_is_fed_from_one_buffer(lane, monkeypatch):
    lane = lane()
    fed = []
    infer = lane._detector.infer
    monkeypatch.setattr(lane._detector, "infer", lambda batch: fed.append(batch.ctypes.data) or infer(batch))
    for value in (10, 20):
        lane.detect([make_frame(side=SIDE, value=value)])
    assert len(set(fed)) == 1


def test_the_network_runs_on_no_more_than_there_is(lane, monkeypatch):
    lane = lane(4, batch="frames")
    fed = []
    infer = lane._detector.infer
    monkeypatch.setattr(lane._detector, "infer", lambda batch: fed.append(len(batch)) or infer(batch))
    for count in (4, 1, 2):
        lane.detect([make_frame(side=SIDE) for _ in range(count)])
    assert fed == [4, 1, 2]


def test_the_time_that_preparing_takes_is_learned(lane):
    lane = lane()
    assert lane._runs._prepare_s == 0
    lane.detect([make_frame(side=SIDE)])
    assert lane._runs._prepare_s > 0


def test_one_bad_picture_leaves_the_others_alone(lane):
    lane = lane(3, batch="frames")
    frames = [make_frame(side=SIDE, value=value) for value in (10, 20, 30)]
    frames[1].picture = np.zeros((4, 4, 3), np.int64)
    first, bad, last = lane.detect(frames)
    assert isinstance(bad, FGDError)
    assert scores([first, last]) == [10, 30]


@pytest.mark.parametrize("stage", ["infer", "postprocess"])
def test_a_detector_that_raises_fails_its_frames_and_no_more(lane, monkeypatch, stage):
    lane = lane(2, batch="frames")
    frames = [make_frame(side=SIDE, value=10) for _ in range(2)]
    with monkeypatch.context() as patch:
        patch.setattr(lane._detector, stage, lambda *_: 1 / 0)
        assert [type(outcome) for outcome in lane.detect(frames)] == [ZeroDivisionError] * 2
    assert scores(lane.detect(frames)) == [10, 10]


def test_the_time_at_the_start_is_taken_when_the_slot_is_free(lane):
    lane = lane()
    order = []

    class Slot:
        def __enter__(self):
            order.append("slot")

        def __exit__(self, *_):
            order.append("free")

    lane._runs.slot = Slot
    infer = lane._detector.infer
    lane._detector.infer = lambda batch: order.append("infer") or infer(batch)
    lane.detect([make_frame(side=SIDE)])
    assert order == ["slot", "infer", "free"]
