"""The command line of the export."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import onnx
import pytest

from fgd_yolo.cli.export_command import main
from fgd_yolo.export.precisions import PRECISIONS, Precision
from fixtures import file_names

SCRIPT = Path(__file__).parents[2] / "deploy" / "export.py"


@pytest.mark.slow
def test_the_script_exports_from_any_folder(weights):
    command = [sys.executable, SCRIPT, "--model", weights, "--imgsz", "64"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "")
    assert "model.onnx" in run.stdout and " MB, fp32 detect, 64 px" in run.stdout
    assert "matches PyTorch on 6 images" in run.stdout
    assert f"{SCRIPT.parent / 'predict.py'} --model" in run.stdout or "fgd-yolo predict --model" in run.stdout
    assert file_names(weights.parent) == ["model.onnx", "model.pt"]


def test_sigterm_leaves_nothing_behind(weights, monkeypatch, capsys):
    def killed(*args):
        assert any(name.startswith(".partial-") for name in file_names(weights.parent))
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("it was not stopped")

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("fgd_yolo.export.build.check_onnx", killed)
    assert main(["--model", str(weights)]) == 1
    assert "stopped before anything was written" in capsys.readouterr().err
    assert file_names(weights.parent) == ["model.pt"]
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_full_disk_is_an_error_of_one_line(weights, monkeypatch, capsys):
    messages = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    monkeypatch.setattr(logging.getLogger("ultralytics"), "handlers", [handler])

    def full(*args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("torch.onnx.export", full)
    assert main(["--model", str(weights)]) == 1
    printed = capsys.readouterr().err
    assert printed.splitlines() == [f"error: cannot write {weights.with_suffix('.onnx')}: No space left on device"]
    assert not [line for line in messages if "No space" in line]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--model", "missing.pt"], 1, "error: weights file missing.pt does not exist"),
        (["--model", "missing.pt", "--precision"], 2, "expected one argument"),
        (["--model", "missing.pt", "--size", "3"], 2, "unknown option '--size'"),
        ([], 2, "--model"),
    ],
)
def test_exit_codes_and_one_line_errors(arguments, code, message, capsys):
    assert main(arguments) == code
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1


def test_a_usage_error_of_the_export_is_exit_code_two(weights, capsys):
    assert main(["--model", str(weights), "--imgsz", "100"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_debug_shows_the_traceback(capsys):
    assert main(["--model", "missing.pt", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_help_gives_examples(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    assert "--model best.pt --imgsz 320" in capsys.readouterr().out


def test_images_that_cannot_be_read_and_a_uint8_input_are_reported(weights, tiny_data, tmp_path, capsys):
    import yaml

    (tmp_path / "broken.jpg").write_bytes(b"no image")
    good = next((tiny_data.parent / "images/val").iterdir())
    (tmp_path / "val.txt").write_text(f"{good}\n{tmp_path / 'broken.jpg'}\n")
    data = tmp_path / "listed.yaml"
    data.write_text(yaml.safe_dump({**yaml.safe_load(tiny_data.read_text()), "val": str(tmp_path / "val.txt")}))
    assert main(["--model", str(weights), "--data", str(data), "--uint8-input"]) == 0
    printed = capsys.readouterr().out
    assert "matches PyTorch on 1 image (" in printed and "1 image could not be read" in printed
    assert "only for fgd_yolo's detector" in printed


class CopyReport:
    """The report of a precision that changes nothing."""

    refusal = None

    def metadata(self):
        return {"copied": True}

    def summary(self):
        return ["an unchanged copy"]


def test_a_precision_is_one_module_and_one_row_of_the_table(weights, monkeypatch, capsys):
    def convert(conversion):
        shutil.copy(conversion.source, conversion.target)
        return CopyReport()

    row = Precision("a copy", "copying and comparing", PRECISIONS["fp32"].tolerance, module="copy_precision")
    monkeypatch.setitem(sys.modules, "copy_precision", SimpleNamespace(convert=convert))
    monkeypatch.setitem(PRECISIONS, "copy", row)
    assert main(["--model", str(weights), "--precision", "copy"]) == 0
    printed = capsys.readouterr().out
    for part in (
        "then copying and comparing with PyTorch",
        "copy detect, 96 px",
        "an unchanged copy",
        "matches PyTorch",
    ):
        assert part in printed
    entries = {entry.key: entry.value for entry in onnx.load(weights.with_suffix(".onnx")).metadata_props}
    entry = json.loads(entries["fgd_yolo"])
    assert (entry["precision"], entry["copied"]) == ("copy", True)
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "copy: a copy" in " ".join(capsys.readouterr().out.split())
