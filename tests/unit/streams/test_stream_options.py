from __future__ import annotations

from pathlib import Path

import pytest

from fgd_yolo.cli.stream_command import build_parser, name_sources, run_command
from fgd_yolo.errors import UsageError
from fgd_yolo.streams.stream_options import RunOptions, read_options

CAMERA = "rtsp://me:geheim@10.0.0.7/cam"


def write(text: str) -> Path:
    path = Path("streams.yaml")
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", ["device", "mode", "conf", "iou", "segment_s", "max_megapixels"])
def test_the_help_gives_the_default_of_an_option(name):
    help_text = build_parser().names[name].help
    assert f"(default: {RunOptions.model_fields[name].default})".replace(".0)", ")") in help_text


def test_a_file_and_the_command_line_are_merged_and_the_command_line_overrides():
    file = write(
        f"model: a.onnx\nconf: 0.4\niou: 0.5\nstreams:\n  gate: {CAMERA}\n  yard: {{source: 0, policy: every}}\n"
    )
    options = read_options({"conf": 0.6, "streams": {"hall": {"source": "hall.mp4"}}}, file)
    assert (options.model, options.conf, options.iou) == (Path("a.onnx"), 0.6, 0.5)
    assert {name: (one.source, one.policy) for name, one in options.streams.items()} == {
        "gate": (CAMERA, None),
        "yard": (0, "every"),
        "hall": ("hall.mp4", None),
    }


def test_zones_and_lines_are_read_unchanged():
    text = "model: a.onnx\nstreams:\n  gate:\n    source: 0\n    lines: {door: [[0, 0.5], [1, 0.5]]}\n"
    assert read_options({}, write(text)).streams["gate"].lines == {"door": [[0, 0.5], [1, 0.5]]}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("model: [", "is not valid YAML"),
        ("just words", "must have keys such as model: and streams:"),
        ("model: a.onnx\nstreams: [1]", "streams need names"),
        ("model: a.onnx\nstreams:\n  gate: 0\n  gate: 1\n", "line 4: 'gate' is given more than once"),
        ("model: a.onnx\nmodell: b.onnx", "unknown option 'modell', did you mean 'model'?"),
        ("model: a.onnx\nstreams: {gate: {policy: every}}", "streams.gate.source is missing"),
        ("model: a.onnx\nstreams: {gate: {sorce: 0}}", "unknown option 'streams.gate.sorce', did you mean 'source'?"),
        (
            "model: a.onnx\nstreams: {gate: {source: 0, polcy: every}}",
            "unknown option 'streams.gate.polcy', did you mean 'policy'?",
        ),
        ("model: a.onnx\nconf: much", "conf must be a number"),
        ("model: a.onnx\nsegment_s: 0", "segment_s must be above 0"),
        ("model: a.onnx\nmax_megapixels: 0", "max_megapixels must be above 0"),
        ("model: a.onnx\nmax_megapixels: .inf", "max_megapixels must be a finite number"),
        ("streams: {gate: 0}", "model is missing"),
        ("model: a.onnx\nstreams: {gate: no}", "streams.gate.source"),
        ("model: a.onnx\nstreams: {gate: }", "streams.gate needs an address"),
        (f"model: a.onnx\nstreams: {{gate: {{source: ['{CAMERA}']}}}}", "streams.gate.source"),
        (f"model: a.onnx\nstreams: {{'{CAMERA}': 0}}", "the name of a stream is shown everywhere"),
        (f"model: a.onnx\n'{CAMERA}': 0", "unknown option"),
        (f"model: a.onnx\nstreams: {{gate: {{source: 0, '{CAMERA}': 1}}}}", "unknown option"),
        (f"model: a.onnx\nstreams: {{gate: '{CAMERA}{'x' * 2048}'}}", "streams.gate.source the address is longer than"),
        (f'model: a.onnx\nstreams: {{gate: "{CAMERA}\\e[2J"}}', "has a character that is not allowed in an address"),
        (f'model: a.onnx\nstreams: {{gate: "{CAMERA}\\uD800"}}', "streams.gate.source is not UTF-8"),
        ('model: a.onnx\nstreams: {"a\\nb": 0}', "stream name 'a?b' is empty, longer than 128"),
        (f"model: a.onnx\nstreams: {{{'x' * 200}: 0}}", "is empty, longer than 128 characters or has"),
        ("model: a.onnx\nstreams: {gate: 99999}", "a camera number must be from 0 to 9999, got 99999"),
        ("model: a.onnx\nstreams: {gate: -1}", "a camera number must be from 0 to 9999, got -1"),
        (f'model: a.onnx\nwebhook: "{CAMERA}\\e[2J"', "webhook has a character that cannot be printed"),
        ('model: "a\\0b"', "model has a zero byte"),
        ("model: a.onnx\ndisk_mb: .inf", "disk_mb must be a finite number"),
        ("model: a.onnx\nconf: .nan", "conf must be a finite number"),
        ("model: a.onnx\nweb: 127.0.0.1:" + "9" * 5000, "web must have at most 2048 characters"),
        ("model: a.onnx\nthreads: " + "9" * 5000, "a value in it cannot be read"),
        ("model: a.onnx\nthreads: 2024-99-99", "a value in it cannot be read"),
        ("[" * 16_000, "a value in it cannot be read"),
    ],
)
def test_an_invalid_file_is_an_error_of_one_line_that_names_it_and_shows_no_password(text, complaint):
    with pytest.raises(UsageError) as refusal:
        read_options({}, write(text))
    message = str(refusal.value)
    assert message.startswith("streams.yaml") and complaint in message
    assert "\n" not in message and "geheim" not in message


@pytest.mark.parametrize(
    "line", ["gate: rtsp://u:hunter2@h: x", 'gate: "rtsp://u:hunter2@h', "gate: [rtsp://u:hunter2@h"]
)
def test_the_traceback_of_an_invalid_file_shows_no_password(line, capsys):
    assert run_command(["--debug", "--config", str(write(f"streams:\n  {line}"))]) == 2
    shown = capsys.readouterr().err
    assert "Traceback" in shown and "hunter2" not in shown


def test_a_file_that_cannot_be_read_is_named():
    with pytest.raises(UsageError, match=r"nowhere\.yaml cannot be read: No such file"):
        read_options({}, Path("nowhere.yaml"))


def test_a_stream_in_both_places_is_refused():
    file = write("model: a.onnx\nstreams: {gate: 0}")
    with pytest.raises(UsageError, match=r"'gate' is both in streams\.yaml and on the command line"):
        read_options({"streams": {"gate": {"source": 1}}}, file)


def test_the_text_of_the_options_has_no_secret():
    options = read_options(
        {
            "model": "a.onnx",
            "token": "geheim",
            "webhook": CAMERA,
            "mqtt": "mqtt://a:geheim@b",
            "streams": {"a": {"source": CAMERA}},
        }
    )
    assert "geheim" not in repr(options)


def test_sources_are_named_by_the_user_or_after_themselves():
    streams = name_sources([f"gate={CAMERA}", "0", "test://?fps=15", "night.mp4", "0"])
    assert {name: one["source"] for name, one in streams.items()}["gate"] == CAMERA
    assert [one["source"] for one in streams.values()] == [CAMERA, "0", "test://?fps=15", "night.mp4", "0"]
    assert len(streams) == 5


def test_a_file_with_an_equals_sign_is_a_file():
    Path("a=b.mp4").touch()
    (stream,) = name_sources(["a=b.mp4"]).values()
    assert stream == {"source": "a=b.mp4"}


def test_an_address_longer_than_a_file_name_may_be_is_an_address():
    address = "rtsp://10.0.0.7/" + "x" * 300
    assert name_sources([address, f"gate={address}"]) == {"10.0.0.7": {"source": address}, "gate": {"source": address}}


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--sorce", CAMERA], "did you mean '--source'"),
        (["--source", CAMERA, f"--sorce={CAMERA}"], "did you mean '--source'"),
        (["--model", "a", "--source", CAMERA, "--conf", CAMERA], "10.0.0.7"),
    ],
)
def test_a_mistyped_command_line_shows_no_password(words, shown, capsys):
    assert run_command(words) == 2
    err = capsys.readouterr().err
    assert "geheim" not in err and shown in err


def test_two_streams_of_one_name_are_refused():
    with pytest.raises(UsageError, match="stream 'gate' is given more than once"):
        name_sources(["gate=0", "gate=1"])


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("model: a.onnx\nclasses: [yes]", "classes.0"),
        ("model: a.onnx\nclasses: [1.0]", "classes.0"),
        ("model: a.onnx\nclasses: cell", "classes"),
        ('model: a.onnx\nstreams: {"ga\\e[2Jte": 0}', "stream name 'ga"),
        ('model: a.onnx\nstreams: {"\\u202Ega": 0}', "cannot be printed"),
        ("model: a.onnx\nstreams: {'': 0}", "is empty"),
    ],
)
def test_classes_and_names_that_would_be_misread_are_refused(text, complaint):
    with pytest.raises(UsageError) as refusal:
        read_options({}, write(text))
    assert complaint in str(refusal.value)


def test_classes_are_numbers_or_words_and_are_read_unchanged():
    assert read_options({}, write("model: a.onnx\nclasses: [2, '2', id:2, name:2]")).classes == [
        2,
        "2",
        "id:2",
        "name:2",
    ]
