from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from fgd_yolo.cli.predict_command import main
from fgd_yolo.errors import FGDError
from fgd_yolo.runtime.detector import OnnxDetector
from fgd_yolo.runtime.predict import MAX_PRINTED_IMAGES
from onnx_files import save_detector

SCRIPT = Path(__file__).parents[2] / "deploy" / "predict.py"
# The box that `save_detector` detects in an image of the size of its canvas, 64 px.
BOX = [22.0, 26.0, 42.0, 38.0]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return save_detector(tmp_path_factory.mktemp("model") / "best.onnx")


def save_image(path: str, side: int = 64) -> Path:
    """Save a grey square image below the current folder."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(cv2.imencode(target.suffix, np.full((side, side, 3), 90, np.uint8))[1].tobytes())
    return target


def read(path: Path) -> np.ndarray:
    return cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)


def test_the_script_draws_into_a_new_folder_each_time(model):
    save_image("image.png")
    options = ["--model", str(model), "--source", "image.png", "--device", "cpu"]
    for folder in ("best", "best-2"):
        run = subprocess.run([sys.executable, str(SCRIPT), *options], capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        assert run.stdout.startswith("image.png: 1 block (")
        assert run.stdout.splitlines()[-1].startswith("1 image; 1 block; ")
        assert run.stdout.endswith(f"ms per image; results in {Path('runs/predict', folder)}\n")
        image = read(Path("runs/predict", folder, "image.png"))
        assert image.shape == (64, 64, 3) and (image != 90).any()
    assert (read(Path("image.png")) == 90).all()


@pytest.mark.parametrize("channels", [1, 4])
def test_images_of_other_channels_are_drawn_and_files_that_lack_them_are_skipped(channels, tmp_path, capsys):
    model = save_detector(tmp_path / "best.onnx", channels=channels)
    pages = [np.full((64, 64), 60 + 10 * page, np.uint8) for page in range(channels)]
    Path("images").mkdir()
    cv2.imwritemulti("images/a.tif", pages)
    save_image("images/b.png")
    assert main(["--model", str(model), "--source", "images"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("images/a.tif: 1 block (")
    drawn = read(Path("runs/predict/best/a.tif"))
    assert drawn.shape == (64, 64, 3) and drawn[5, 5].tolist() == ([60] * 3 if channels == 1 else [60, 70, 80])
    if channels == 1:
        assert lines[1].startswith("images/b.png: 1 block (")
    else:
        assert lines[1] == "images/b.png: it has 3 channels, but the model takes 4, skipped"
        assert "1 unreadable file skipped (images/b.png: it has 3 channels, but the model takes 4)" in lines[2]


def test_json_alone_writes_a_line_for_each_image_and_draws_nothing(model, capsys):
    save_image("images/a.png")
    save_image("images/b.jpg", side=128)
    assert main(["--model", model, "--source", "images", "--json", "out/detections.jsonl"]) == 0
    lines = [json.loads(line) for line in Path("out/detections.jsonl").read_text().splitlines()]
    assert {(line["version"], line["kind"]) for line in lines} == {(1, "image")}
    sizes = [(line["path"], line["height"], line["width"]) for line in lines]
    assert sizes == [("images/a.png", 64, 64), ("images/b.jpg", 128, 128)]
    assert lines[0]["objects"] == [{"class_id": 1, "class_name": "block", "confidence": 0.9, "xyxy": BOX}]
    assert lines[1]["objects"][0]["xyxy"] == [2 * edge for edge in BOX]
    assert sorted(path.name for path in Path.cwd().iterdir()) == ["images", "out"]
    assert [path.name for path in Path("out").iterdir()] == ["detections.jsonl"]
    assert "2 images; 2 block; " in capsys.readouterr().out


def test_name_and_json_together_give_both(model):
    save_image("a.png")
    assert (
        main(["--model", model, "--source", "a.png", "--project=.", "--name=drawn", "--json", "detections.jsonl"]) == 0
    )
    assert Path("drawn/a.png").is_file()
    assert len(Path("detections.jsonl").read_text().splitlines()) == 1


def test_a_folder_that_exists_is_numbered(model):
    save_image("a.png")
    for _ in range(2):
        assert main(["--model", model, "--source", "a.png", "--project", ".", "--name", "drawn"]) == 0
    assert [path.name for path in Path("drawn-2").iterdir()] == ["a.png"]
    assert sorted(path.name for path in Path.cwd().iterdir()) == ["a.png", "drawn", "drawn-2"]


def test_sources_of_one_name_in_different_folders_keep_their_folders(model):
    save_image("north/cat.png")
    save_image("south/cat.png")
    options = ["--source", "north", "--source", "south/cat.png", "--project", ".", "--name", "drawn"]
    assert main(["--model", model, *options]) == 0
    assert Path("drawn/north/cat.png").is_file()
    assert Path("drawn/south/cat.png").is_file()


def test_one_source_may_have_several_files_and_each_is_read_once(model, capsys):
    save_image("a.png")
    save_image("b.png")
    Path("folder").mkdir()
    again = ["--source", "a.png", "folder/../b.png"]
    assert main(["--model", model, "--source", "a.png", "b.png", *again, "--json", "f.jsonl"]) == 0
    assert "2 images" in capsys.readouterr().out


def test_unreadable_files_are_skipped_and_counted_without_messages_of_libraries(model, capfd):
    save_image("images/good.png")
    data = save_image("images/damaged.png").read_bytes()
    Path("images/damaged.png").write_bytes(data[:60] + bytes([data[60] ^ 255]) + data[61:])
    Path("images/text.jpg").write_text("no image")
    assert main(["--model", model, "--source", "images", "--project", ".", "--name", "drawn"]) == 0
    out, err = capfd.readouterr()
    assert "images/text.jpg: cannot be read, skipped\n" in out
    assert "1 image; 2 unreadable files skipped (images/damaged.png, images/text.jpg); 1 block; " in out
    assert err.splitlines() == [err.splitlines()[0]]
    assert err.startswith("best.onnx runs on ")
    assert [path.name for path in Path("drawn").iterdir()] == ["good.png"]


def test_videos_among_the_images_of_a_folder_give_a_warning(model, capsys):
    save_image("images/a.png")
    for name in ("b.mp4", "c.mov"):
        Path("images", name).touch()
    assert main(["--model", model, "--source", "images", "images/a.png", "--json", "detections.jsonl"]) == 0
    out, err = capsys.readouterr()
    assert "1 image; 1 block; " in out
    assert "images: 2 videos are not read; run 'fgd-yolo stream --source images' for videos\n" in err


def test_a_folder_of_videos_is_wrong_usage_and_names_the_stream_command(model, capsys):
    Path("clips").mkdir()
    Path("clips/a.mp4").touch()
    assert main(["--model", model, "--source", "clips"]) == 2
    assert "'clips' contains no image, but a video: run 'fgd-yolo stream --source clips'" in capsys.readouterr().err


def test_an_image_above_the_limit_is_skipped_with_its_size_and_the_option_that_raises_it(model, capsys):
    save_image("good.png")
    cv2.imwrite("wide.png", np.zeros((300, 2000, 3), np.uint8))
    options = ["--model", model, "--source", "good.png", "wide.png", "--json", "f.jsonl", "--max-megapixels"]
    assert main([*options, "0.5"]) == 0
    why = "2000 x 300 px are 0.6 megapixels, above the limit of 0.5; raise --max-megapixels if that is intended"
    out = capsys.readouterr().out
    assert f"wide.png: {why}, skipped\n" in out
    assert f"1 image; 1 unreadable file skipped (wide.png: {why}); 1 block; " in out
    assert main([*options, "0.6"]) == 0
    assert "2 images" in capsys.readouterr().out
    assert main(["--model", model, "--source", "wide.png", "--max-megapixels", "0.5"]) == 1
    assert f"error: no readable image in 1 file, such as wide.png: {why}\n" in capsys.readouterr().err
    assert main([*options, "0"]) == 2
    assert "must be a number above 0" in capsys.readouterr().err


def test_from_python_a_file_above_the_limit_is_an_error_and_an_array_is_not(model):
    cv2.imwrite("wide.png", np.zeros((300, 2000, 3), np.uint8))
    detector = OnnxDetector(model, max_megapixels=0.5)
    with pytest.raises(FGDError, match=r"^wide\.png cannot be read as an image: 2000 x 300 px are 0\.6 megapixels"):
        detector("wide.png")
    assert len(detector(cv2.imread("wide.png"))) >= 0
    assert len(OnnxDetector(model)("wide.png")) >= 0


def test_when_nothing_can_be_read_it_fails_and_leaves_nothing(model, capsys):
    Path("text.jpg").write_text("no image")
    assert main(["--model", model, "--source", "text.jpg", "--json", "detections.jsonl"]) == 1
    assert "error: no readable image in 1 file, such as text.jpg" in capsys.readouterr().err
    assert main(["--model", model, "--source", "text.jpg"]) == 1
    assert [path.name for path in Path.cwd().iterdir()] == ["text.jpg"]


def test_a_threshold_above_every_score_gives_no_objects(model, capsys):
    save_image("a.png")
    assert main(["--model", model, "--source", "a.png", "--conf", "0.95", "--json", "f.jsonl"]) == 0
    assert "a.png: no objects (" in capsys.readouterr().out
    assert json.loads(Path("f.jsonl").read_text())["objects"] == []


def test_many_images_are_counted_instead_of_listed(model, capsys):
    for index in range(MAX_PRINTED_IMAGES + 1):
        save_image(f"images/{index}.png")
    assert main(["--model", model, "--source", "images", "--json", "f.jsonl"]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 1
    assert f"detecting: {MAX_PRINTED_IMAGES + 1}" in err
    assert len(Path("f.jsonl").read_text().splitlines()) == MAX_PRINTED_IMAGES + 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--source", "none.png"], "'none.png' does not exist"),
        (["--source", "a.png", "--device", "gpu"], "unknown device 'gpu'"),
        (["--source", "a.png", "--threads", "0"], "threads must be an integer"),
        (["--source", "a.png", "--threads", "two"], "--threads: invalid int value"),
        (["--source", "a.png", "--conf", "25"], "conf must be a number from 0 to 1, got 25.0"),
        (["--source", "a.png", "--conf", "0.1", "--conf", "0.2"], "--conf given more than once"),
        (["--source", "a.png", "--project", "a.png"], "is a file: pass a folder"),
        (["--source", "a.png", "--json", "a.png"], "a.png is an input and would be overwritten"),
        (["--source", "a.png", "--json", "."], "is not a file"),
        (["--source", "a.png", "--json", "-"], "is not a file"),
        ([], "--source"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(model, arguments, complaint, capsys):
    before = save_image("a.png").read_bytes()
    assert main(["--model", model, *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1].startswith("error: ")
    assert complaint in err.splitlines()[-1]
    assert Path("a.png").read_bytes() == before
    assert [path.name for path in Path.cwd().iterdir()] == ["a.png"]


@pytest.mark.parametrize("linked", [False, True])
def test_a_pipe_or_device_is_refused_instead_of_replaced(model, linked, capsys):
    save_image("a.png")
    os.mkfifo("pipe")
    Path("link").symlink_to("pipe")
    assert main(["--model", model, "--source", "a.png", "--json", "link" if linked else "pipe"]) == 2
    assert "is not a file" in capsys.readouterr().err
    assert Path("pipe").is_fifo()
    assert Path("link").is_symlink()


def test_a_link_to_the_json_file_stays_a_link(model):
    save_image("a.png")
    Path("there").mkdir()
    Path("there/detections.jsonl").write_text("old")
    Path("link.jsonl").symlink_to("there/detections.jsonl")
    assert main(["--model", model, "--source", "a.png", "--json", "link.jsonl"]) == 0
    assert Path("link.jsonl").is_symlink()
    assert json.loads(Path("there/detections.jsonl").read_text())["path"] == "a.png"


def test_the_model_is_not_overwritten(model, capsys):
    save_image("a.png")
    Path("best.onnx").write_bytes(model.read_bytes())
    assert main(["--model", "best.onnx", "--source", "a.png", "--json", "best.onnx"]) == 2
    assert "best.onnx is an input and would be overwritten" in capsys.readouterr().err
    assert Path("best.onnx").read_bytes() == model.read_bytes()


def test_a_closed_output_pipe_is_an_error_of_one_line(model):
    save_image("a.png")
    reading, writing = os.pipe()
    os.close(reading)
    options = ["--model", str(model), "--source", "a.png", "--json", "f.jsonl"]
    run = subprocess.run([sys.executable, str(SCRIPT), *options], stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert run.returncode == 1
    assert run.stderr.splitlines()[1].startswith("error: the output pipe was closed; 1 image; 1 block; ")
    assert not Path("f.jsonl").exists()


def test_a_model_that_cannot_be_opened_is_one_line_and_exit_code_1(capsys):
    save_image("a.png")
    assert main(["--model", "none.onnx", "--source", "a.png"]) == 1
    assert capsys.readouterr().err == "error: none.onnx does not exist: pass the .onnx file that the export wrote\n"


def test_a_model_of_another_kind_is_one_line_and_exit_code_1(tmp_path, capsys):
    save_image("a.png")
    path = save_detector(tmp_path / "c.onnx", {"task": "classify"})
    assert main(["--model", path, "--source", "a.png"]) == 1
    assert "it is a classify model" in capsys.readouterr().err.splitlines()[-1]


def test_a_model_without_metadata_gives_a_warning_for_each_default(tmp_path, capsys):
    save_image("a.png")
    assert main(["--model", save_detector(tmp_path / "m.onnx", {}), "--source", "a.png", "--json", "f.jsonl"]) == 0
    out, err = capsys.readouterr()
    assert "a.png: 1 1 (" in out
    assert "m.onnx: 'names' is missing in the file's metadata: the 3 classes are numbered from 0" in err


def test_a_stopped_run_prints_its_summary_and_leaves_no_partial_file(model, monkeypatch, capsys):
    from fgd_yolo.runtime import predict

    for name in ("a.png", "b.png"):
        save_image(name)
    load = predict.load_image

    def stop_at_b(path, *options):
        if path.name == "b.png":
            raise KeyboardInterrupt
        return load(path, *options)

    monkeypatch.setattr(predict, "load_image", stop_at_b)
    assert (
        main(["--model", model, "--source", "a.png", "b.png", "--project=.", "--name=drawn", "--json", "f.jsonl"]) == 1
    )
    assert "stopped: 1 image; 1 block; " in capsys.readouterr().err
    assert sorted(path.name for path in Path.cwd().iterdir()) == ["a.png", "b.png", "drawn"]


def test_the_help_has_examples(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"], prog="fgd-yolo predict")
    assert "fgd-yolo predict --model best.onnx --source image.jpg" in capsys.readouterr().out


def test_json_is_strict_where_a_model_overflows_and_the_summary_counts_the_dropped_objects(model, capsys):
    from onnx import load, numpy_helper, save_model

    broken = load(str(model))
    columns = numpy_helper.to_array(broken.graph.initializer[0]).copy()
    columns[0, :, 10] = [np.nan, 5, 5, 5, 0.8, 0, 0]
    broken.graph.initializer[0].CopyFrom(numpy_helper.from_array(columns, "columns"))
    save_model(broken, "broken.onnx")
    save_image("image.png")
    assert main(["--model", "broken.onnx", "--source", "image.png", "--json", "detections.jsonl"]) == 0
    out, err = capsys.readouterr()
    assert "1 object with non-finite values dropped" in out
    assert err.count("non-finite") == 1

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    result = json.loads(Path("detections.jsonl").read_text(), parse_constant=refuse)
    assert [detected["xyxy"] for detected in result["objects"]] == [BOX]


def test_names_of_files_and_classes_never_control_the_terminal(capsys):
    metadata = {"task": "detect", "stride": "32", "imgsz": "[64, 64]", "end2end": "False"}
    save_detector(Path("a\x1b[2J.onnx"), {**metadata, "names": str({0: "a", 1: "b\x9b2J\u202e", 2: "c"})})
    save_image("p\x1b]0;owned\x07.png")
    options = [
        "--model",
        "a\x1b[2J.onnx",
        "--source",
        "p\x1b]0;owned\x07.png",
        "missing\x1b[2J.png",
        "--project",
        "o\x1b",
    ]
    assert main(options) == 2
    assert main([option for option in options if "missing" not in option]) == 0
    assert main([*options[:2], "--source", "missing\r\n\x1b[2J.png", "--debug"]) == 2
    for text in capsys.readouterr():
        assert all(line.isprintable() for line in text.split("\n")), text
