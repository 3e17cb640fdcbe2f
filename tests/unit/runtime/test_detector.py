"""The detector on small real files that score their objects by the brightness of the image."""

import threading

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fgd_yolo.errors import FGDError, UsageError
from fgd_yolo.runtime import Detections, OnnxDetector
from fgd_yolo.runtime import detector as detector_module
from onnx_files import save_brightness_detector

SIDE = 32
BOXES_CXCYWH = [[8, 8, 8, 8], [9, 8, 8, 8], [24, 24, 8, 16]]  # the first two overlap by 7/9
FRACTIONS = [1.0, 0.9, 0.8]  # the score of an object is this fraction of the brightness


def brightness_file(path, *, two_classes=False, metadata=None, **options):
    """Write a detector that detects three objects in every image."""
    common = {"names": "{0: 'low', 1: 'high'}", "stride": "32", "imgsz": f"[{SIDE}, {SIDE}]"}
    common |= {"end2end": str(options.get("decoded", False)), "batch": "1", "args": "{'nms': False}"}
    labels = [0, 1 if two_classes else 0, 1]
    options = {"side": SIDE, "classes": 2, **options, "metadata": {**common, **(metadata or {})}}
    return save_brightness_detector(path, BOXES_CXCYWH, FRACTIONS, labels, **options)


def grey(brightness, height=SIDE, width=SIDE):
    return np.full((height, width, 3), brightness, np.uint8)


@pytest.fixture
def detector(tmp_path):
    return OnnxDetector(brightness_file(tmp_path / "one.onnx"), "cpu", threads=1)


def scores(results):
    return [round(float(detections.confidence[0]) * 255) for detections in results]


def test_one_image_gives_its_objects_in_image_pixels(detector):
    detections = detector(np.full((64, 128, 3), 255, np.uint8))  # gain 1/4: the image fills the middle 16 rows
    assert (
        isinstance(detections, Detections)
        and detections.shape == (64, 128)
        and detections.names == {0: "low", 1: "high"}
    )
    np.testing.assert_array_equal(detections.xyxy, [[16, 0, 48, 16], [80, 32, 112, 64]])
    assert detections.class_id.tolist() == [0, 1]
    brightness = (255 + 114) / 2 / 255
    np.testing.assert_allclose(detections.confidence, [brightness, brightness * 0.8], rtol=1e-5)


def test_the_thresholds_and_the_limit_are_applied(tmp_path):
    file = brightness_file(tmp_path / "one.onnx", two_classes=True)

    def count(**options):
        return len(OnnxDetector(file, "cpu", threads=1, **options)(grey(255)))

    assert count() == 3 and count(agnostic=True) == 2 and count(agnostic=True, iou=0.8) == 3
    assert (
        count(conf=np.float32(0.85), max_detections=np.int64(9)) == 2
        and count(conf=0.95) == 1
        and count(max_detections=1) == 1
    )


def test_rows_that_need_no_nms_are_not_suppressed(tmp_path):
    file = brightness_file(tmp_path / "rows.onnx", decoded=True)
    detections = OnnxDetector(file, "cpu", threads=1, iou=0.1, agnostic=True)(grey(255))
    assert (
        detections.xyxy[0].tolist() == [8, 8, 8, 8]
        and len(detections) == 3
        and detections.class_id.tolist() == [0, 0, 1]
    )
    for options, count in (({"conf": 0.85}, 2), ({"max_detections": 1}, 1)):
        assert len(OnnxDetector(file, "cpu", threads=1, **options)(grey(255))) == count


def test_a_list_of_arrays_and_paths_gives_results_in_order(detector, tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), grey(120))
    cv2.imwrite(str(tmp_path / "b.png"), grey(180))
    results = detector([grey(200), tmp_path / "a.png", str(tmp_path / "b.png"), grey(250)[..., 0]])
    assert scores(results) == [200, 120, 180, 250]
    assert scores(detector((grey(99), grey(101)))) == [99, 101]
    assert isinstance(detector(tmp_path / "a.png"), Detections) and isinstance(detector([grey(90)]), list)


def test_a_batch_array_is_a_list_of_images(detector):
    assert scores(detector(np.stack([grey(100), grey(150)]))) == [100, 150]
    assert detector(np.empty((0, 8, 8, 3), np.uint8)) == [] and detector([]) == []


@pytest.mark.parametrize("mode", ["latency", "throughput"])
@pytest.mark.parametrize(("batch", "side"), [(1, SIDE), (4, SIDE), ("batch", SIDE), ("batch", "side")])
def test_many_images_give_results_in_order_from_any_file(tmp_path, batch, side, mode):
    file = brightness_file(tmp_path / "many.onnx", batch=batch, side=side)
    detect = OnnxDetector(file, "cpu", threads=3, mode=mode)
    levels = [80 + 7 * index for index in range(21)]
    sizes = [(SIDE, SIDE), (2 * SIDE, 2 * SIDE), (SIDE // 2, SIDE // 2)]
    results = detect([grey(level, *sizes[index % 3]) for index, level in enumerate(levels)])
    assert scores(results) == levels
    assert [detections.shape for detections in results] == [sizes[index % 3] for index in range(21)]


def test_a_dynamic_file_gets_the_least_padding_and_equal_shapes_run_together(tmp_path, monkeypatch):
    file = brightness_file(tmp_path / "open.onnx", batch="batch", side="side", metadata={"imgsz": "[64, 64]"})
    detect = OnnxDetector(file, "cpu", threads=1)
    shapes = []
    run = detect._session.run
    monkeypatch.setattr(detect._session, "run", lambda batch: shapes.append(batch.shape) or run(batch))
    results = detect([grey(100, 64, 128), grey(110), grey(120, 64, 128), grey(130, 128, 64)])
    assert shapes == [(2, 3, 32, 64), (1, 3, 64, 64), (1, 3, 64, 32)]
    assert scores(results) == [100, 110, 120, 130]
    detect([grey(100)] * (detector_module.MAX_BATCH + 3))
    assert [shape[0] for shape in shapes[3:]] == [detector_module.MAX_BATCH, 3]


def test_throughput_runs_images_one_by_one(tmp_path, monkeypatch):
    file = brightness_file(tmp_path / "open.onnx", batch="batch")
    detect = OnnxDetector(file, "cpu", threads=2, mode="throughput")
    counts = []
    run = detect._session.run
    monkeypatch.setattr(detect._session, "run", lambda batch: counts.append(len(batch)) or run(batch))
    assert scores(detect([grey(100 + index) for index in range(5)])) == [100, 101, 102, 103, 104]
    assert counts == [1] * 5


def test_a_file_with_embedded_nms_never_gets_more_images_than_its_export_batch(tmp_path, monkeypatch):
    metadata = {"end2end": "False", "args": "{'nms': True}", "batch": "2"}
    file = brightness_file(tmp_path / "nms.onnx", batch="batch", decoded=True, metadata=metadata)
    detect = OnnxDetector(file, "cpu", threads=1)
    assert detect.info.embedded_nms
    counts = []
    run = detect._session.run
    monkeypatch.setattr(detect._session, "run", lambda batch: counts.append(len(batch)) or run(batch))
    assert scores(detect([grey(100 + index) for index in range(5)])) == [100, 101, 102, 103, 104]
    assert counts == [2, 2, 1]


def test_a_fixed_batch_is_padded(tmp_path):
    detect = OnnxDetector(brightness_file(tmp_path / "four.onnx", batch=4), "cpu", threads=1)
    tensor, placement = detect.preprocess(grey(200))
    outputs = detect.infer(tensor)
    assert outputs[0].shape == (1, 6, 3)
    assert scores(detect.postprocess(outputs, [placement])) == [200]
    assert scores([detect(grey(77))]) == [77]


def test_a_file_with_uint8_input_gets_the_canvas_itself(tmp_path):
    detect = OnnxDetector(brightness_file(tmp_path / "bytes.onnx", uint8=True), "cpu", threads=1)
    image = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    tensor, _ = detect.preprocess(image)
    assert tensor.dtype == np.uint8 and np.array_equal(tensor, image[None])
    assert scores(detect([grey(90), grey(210)])) == [90, 210]
    out = np.zeros_like(tensor)
    assert detect.preprocess(image, out)[0] is out and np.array_equal(out, tensor)


def test_a_given_buffer_is_written_to_and_otherwise_each_input_is_a_new_array(detector):
    image = np.random.default_rng(0).integers(0, 256, (20, 50, 3), dtype=np.uint8)
    first, placement = detector.preprocess(image)
    second, _ = detector.preprocess(image[::-1])
    assert not np.shares_memory(first, second) and not np.array_equal(first, second)
    out = np.full_like(first, 9)
    tensor, again = detector.preprocess(image, out)
    assert tensor is out and again == placement
    assert first.shape == (1, 3, SIDE, SIDE) and np.array_equal(out, first)
    np.testing.assert_allclose(first[0, :, 0, 0], 114 / 255)


def test_colours_are_converted_to_rgb(detector):
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    image[...] = (255, 102, 51)  # BGR
    np.testing.assert_allclose(detector.preprocess(image)[0][0, :, 5, 5], [0.2, 0.4, 1.0], rtol=1e-6)


@pytest.mark.parametrize("uint8", [False, True])
@pytest.mark.parametrize("channels", [1, 4, 10])
def test_a_model_of_other_channels_gets_them_in_the_order_of_the_image(channels, uint8, tmp_path):
    file = brightness_file(tmp_path / "one.onnx", channels=channels, uint8=uint8)
    detect = OnnxDetector(file, "cpu", threads=1)
    assert detect.info.channels == channels
    image = np.random.default_rng(0).integers(0, 256, (SIDE // 2, SIDE, channels), dtype=np.uint8)
    tensor, _ = detect.preprocess(image)
    pixels = tensor[0] if uint8 else tensor[0].transpose(1, 2, 0) * 255
    assert pixels.shape == (SIDE, SIDE, channels)
    np.testing.assert_allclose(pixels[8:24], image, atol=1e-4)
    np.testing.assert_array_equal(np.round(pixels[[0, 7, 24, 31]]), 114)
    assert scores(detect([image])) == [round((image.mean() + 114) / 2)]
    assert scores(detect(np.stack([image, np.full_like(image, 200)]))) == [round((image.mean() + 114) / 2), 157]
    cv2.imwritemulti(str(tmp_path / "a.tif"), [np.ascontiguousarray(image[..., page]) for page in range(channels)])
    assert scores(detect([tmp_path / "a.tif"])) == [round((image.mean() + 114) / 2)]


def test_a_model_of_grey_images_makes_a_camera_frame_grey_and_draws_in_colour(tmp_path):
    detect = OnnxDetector(brightness_file(tmp_path / "grey.onnx", channels=1), "cpu", threads=1)
    frame = np.zeros((SIDE, SIDE, 3), np.uint8)
    frame[...] = (200, 100, 250)  # 0.114 * 200 + 0.587 * 100 + 0.299 * 250 = 156.25
    images = [frame, frame[..., 1], frame[..., 1:2], np.dstack([frame, frame[..., 0]])]
    assert scores(detect(images)) == [156, 100, 100, 156]
    detections = detect(frame[..., 1])
    drawn = detections.draw(frame[..., 1])
    assert drawn.shape == (SIDE, SIDE, 3) and len(np.unique(drawn.reshape(-1, 3), axis=0)) > 2
    assert (drawn == 100).all(axis=2).any()  # the image between the boxes stays grey


@pytest.mark.parametrize(
    ("channels", "shape"), [(1, (8, 8, 5)), (3, (8, 8, 5)), (4, (8, 8, 3)), (4, (8, 8)), (10, (8, 8, 4))]
)
def test_an_image_of_channels_that_the_model_cannot_take_is_an_error_that_names_both(channels, shape, tmp_path):
    detect = OnnxDetector(brightness_file(tmp_path / "one.onnx", channels=channels), "cpu", threads=1)
    with pytest.raises(FGDError, match=rf"{channels} channels?.* got \({', '.join(map(str, shape))}") as caught:
        detect(np.zeros(shape, np.uint8))
    assert "\n" not in str(caught.value)


def test_an_image_file_of_other_channels_is_an_error_that_names_both(tmp_path):
    detect = OnnxDetector(brightness_file(tmp_path / "four.onnx", channels=4), "cpu", threads=1)
    cv2.imwrite(str(tmp_path / "a.png"), grey(100))
    with pytest.raises(FGDError, match=r"a\.png .*: it has 3 channels, but the model takes 4"):
        detect(tmp_path / "a.png")


def test_calls_from_several_threads_do_not_disturb_each_other(detector):
    results = {}

    def work(level):
        results[level] = [scores([detector(grey(level))])[0] for _ in range(30)]

    threads = [threading.Thread(target=work, args=(level,)) for level in (80, 140, 220)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {level: [level] * 30 for level in (80, 140, 220)}


def test_an_unreadable_image_is_named(detector, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    for path in (tmp_path / "broken.jpg", tmp_path / "absent.jpg"):
        with pytest.raises(FGDError, match=path.name):
            detector([grey(100), path])
    with pytest.raises(FGDError):
        detector(None)


@pytest.mark.parametrize(
    "options",
    [
        {"conf": 1.5},
        {"conf": -0.1},
        {"conf": "high"},
        {"conf": float("nan")},
        {"iou": 2},
        {"iou": None},
        {"max_detections": 0},
        {"max_detections": 2.5},
    ],
)
def test_thresholds_out_of_range_are_usage_errors_that_name_them(tmp_path, options):
    with pytest.raises(UsageError, match=next(iter(options))):
        OnnxDetector(brightness_file(tmp_path / "one.onnx"), "cpu", **options)


def test_a_defaulted_value_gives_a_warning(tmp_path, capsys):
    OnnxDetector(brightness_file(tmp_path / "incomplete.onnx", metadata={"stride": ""}), "cpu", threads=1)
    assert "stride" in capsys.readouterr().err


def test_no_objects_give_an_empty_result_with_the_shape_of_the_image(detector):
    detections = detector(grey(10))
    assert len(detections) == 0 and detections.xyxy.shape == (0, 4) and detections.shape == (SIDE, SIDE)


def overflowing_file(path, rows, *, decoded):
    """Write a detector whose output is always these rows: box and scores of two classes, or box, score, class."""
    output = np.array(rows, np.float32)[None]
    output = output if decoded else output.transpose(0, 2, 1)
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["images"], ["mean"], axes=[1, 2, 3], keepdims=0),
            helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
            helper.make_node("Add", ["rows", "nothing"], ["output0"]),
        ],
        "overflowing",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, list(output.shape))],
        [numpy_helper.from_array(output, "rows"), numpy_helper.from_array(np.zeros(1, np.float32), "zero")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    common = {"task": "detect", "names": "{0: 'low', 1: 'high'}", "stride": "32", "imgsz": f"[{SIDE}, {SIDE}]"}
    helper.set_model_props(model, {**common, "end2end": str(decoded)})
    onnx.save(model, path)
    return path


NAN, INF = float("nan"), float("inf")
GOOD, FAINT = [8, 8, 4, 4], [24, 24, 4, 4]


@pytest.mark.parametrize(
    ("decoded", "rows", "dropped"),
    [
        (False, [[*GOOD, 0, 0.9], [NAN, 8, 4, 4, 0.8, 0], [*FAINT, NAN, 0.1], [8, 8, INF, 4, 0.7, 0]], 3),
        (False, [[*GOOD, 0, 0.9], [*FAINT, INF, 0], [8, 8, 3e38, 3e38, 0.9, 0], [NAN, NAN, NAN, NAN, 0.1, 0]], 2),
        (True, [[NAN, 6, 10, 10, 0.95, 1], [6, 6, 10, 10, 0.9, 1], [*FAINT, NAN, 0], [*FAINT, 0.8, INF]], 3),
    ],
)
def test_objects_with_non_finite_values_are_dropped_and_counted_with_one_warning(
    tmp_path, capsys, decoded, rows, dropped
):
    # More anchors than columns, as the number of classes is derived from the shape.
    rows = [*rows, *[[0] * 6] * 60]
    detector = OnnxDetector(overflowing_file(tmp_path / "a.onnx", rows, decoded=decoded), "cpu")
    for calls in (1, 2):
        detections = detector(grey(90))
        assert detections.xyxy.tolist() == [[6, 6, 10, 10]]
        assert detections.confidence.tolist() == [np.float32(0.9)] and detections.class_id.tolist() == [1]
        assert detector.non_finite == calls * dropped
    assert capsys.readouterr().err.count("non-finite") == 1


def test_the_limit_counts_finite_objects(tmp_path):
    rows = [[NAN, 6, 10, 10, 0.95, 1], [6, 6, 10, 10, 0.9, 1], [20, 20, 30, 30, 0.8, 0]]
    path = overflowing_file(tmp_path / "a.onnx", rows, decoded=True)
    assert OnnxDetector(path, "cpu", max_detections=1)(grey(90)).confidence.tolist() == [np.float32(0.9)]
