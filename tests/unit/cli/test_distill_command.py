from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from fgd_yolo import __version__
from fgd_yolo.cli import distill_command
from fgd_yolo.cli.distill_command import parse_distill
from fgd_yolo.cli.main import COMMANDS, main, parsers
from fgd_yolo.config import Recipe
from fgd_yolo.console import guarded
from fgd_yolo.errors import FGDError, UsageError
from shell import loaded_by

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["imgz=3"], ["--imgsz", "3", "imgsz=4"]])
def test_help_and_usage_errors_do_not_import_torch(words):
    assert loaded_by(["distill", *words], {"torch", "ultralytics", "numpy"}) == "[]"


def test_help_lists_every_option_and_runs_from_the_script():
    script = [sys.executable, str(ROOT / "tools/distill.py"), "--help"]
    text = subprocess.run(script, capture_output=True, text=True, check=True).stdout
    options = "teacher student data epochs imgsz batch device teacher-epochs project name recipe resume allow-download"
    for option in options.split():
        assert f"--{option}" in text
    assert "name=value" in text and "--debug" in text and "--version" in text


def test_downloads_are_allowed_on_the_command_line_alone():
    assert parse_distill(["--student", "s.yaml", "--allow-download"]) == {"student": "s.yaml", "allow_download": True}
    assert parse_distill(["--student", "s.yaml"]) == {"student": "s.yaml"}
    assert parse_distill(["student=s.yaml", "allow_download=True"]) == {"student": "s.yaml", "allow_download": True}
    assert parse_distill(["--student=s.yaml", "allow-download=False"]) == {"student": "s.yaml"}
    with pytest.raises(UsageError, match="allow_download"):
        Recipe.from_dict({"allow_download": True})


def test_train_arguments_may_be_anywhere_on_the_command_line():
    words = "lr0=1e-3 --teacher t.pt imgsz=320 --student s.yaml --epochs 3 cos_lr=True --data d.yaml freeze=[0,1]"
    assert parse_distill(words.split()) == {
        "teacher": "t.pt",
        "student": "s.yaml",
        "data": "d.yaml",
        "epochs": 3,
        "imgsz": 320,
        "lr0": 0.001,
        "cos_lr": True,
        "freeze": [0, 1],
    }


@pytest.mark.parametrize(
    "words",
    [
        "--teacher yolov8l --teacher-epochs 3 --lr0 0.01 --cos-lr True --freeze [0,1] --name 007",
        "teacher=yolov8l teacher_epochs=3 lr0=0.01 cos_lr=True freeze=[0,1] name=007",
        "--teacher=yolov8l --teacher_epochs=3 --lr0=1e-2 --cos_lr=True --freeze=[0,1] --name=007",
        "teacher=yolov8l teacher-epochs=3 lr0=.01 cos-lr=True freeze=[0,1] --name 007",
    ],
)
def test_every_option_has_both_spellings_with_dashes_or_underscores(words):
    train = {"lr0": 0.01, "cos_lr": True, "freeze": [0, 1], "name": "007"}
    assert parse_distill(words.split()) == {"teacher": "yolov8l", "teacher_epochs": 3, **train}


def test_a_value_may_contain_an_equals_sign_or_start_with_a_dash():
    read = parse_distill(["--teacher", "runs/a=b/best.pt", "student=c=d.pt", "--data", "lr0=1.yaml", "--batch", "-1"])
    assert read == {"teacher": "runs/a=b/best.pt", "student": "c=d.pt", "data": "lr0=1.yaml", "batch": -1}


def test_options_of_the_distillation_go_before_the_recipe_and_the_recipe_before_the_defaults():
    recipe = parse_distill(["--method", "fitnet+heads", "features.imitation_weight=2"])["recipe"]
    assert isinstance(recipe, Recipe) and recipe.method == "fitnet+heads"
    assert (recipe.features.imitation_weight, recipe.heads.cls_weight) == (2, 1)
    assert (recipe.features.ratio, recipe.heads.ratio) == (0.25, 0.5)
    words = ["method=fgd", "--features.ratio=None", "pictures_every=0", "--schedule.warmup-epochs", "0"]
    fixed = parse_distill(words)["recipe"]
    assert (fixed.features.ratio, fixed.pictures_every, fixed.schedule.warmup_epochs) == (None, 0, 0)
    assert parse_distill(["--recipe", "plain"]) == {"recipe": "plain"}


def test_none_is_a_value_that_a_recipe_may_be_changed_to(tmp_path):
    (tmp_path / "mine.yaml").write_text("data: d.yaml\nteacher_epochs: 5\n")
    recipe = parse_distill([f"recipe={tmp_path / 'mine.yaml'}", "data=None", "--teacher-epochs", "none"])["recipe"]
    assert (recipe.data, recipe.teacher_epochs) == (None, "auto")


def test_a_class_map_is_written_in_one_word():
    for words in (["--map", "truck=car,bus=car"], ["map=truck=car,bus=car"], ["--map=truck=car,bus=car"]):
        assert parse_distill(words)["recipe"].map == {"truck": "car", "bus": "car"}


def test_a_change_of_the_method_keeps_what_a_recipe_gives_and_brings_its_defaults(tmp_path):
    (tmp_path / "mine.yaml").write_text("method: fitnet\nfeatures: {teacher: 2}\n")
    recipe = parse_distill([f"recipe={tmp_path / 'mine.yaml'}", "--method", "fgd+heads"])["recipe"]
    assert (recipe.features.teacher, recipe.features.ratio, recipe.schedule.decay_end) == (2, 0.1, 0.6)


def other_spellings(name, value):
    for spelt in {name, name.replace("_", "-")}:
        yield from ([f"{spelt}={value}"], [f"--{spelt}={value}"], [f"--{spelt}", value])


@pytest.mark.parametrize("command", ["distill", "compare"])
def test_every_option_means_the_same_in_every_spelling(command):
    parser = parsers()[command]
    for name, action in parser.names.items():
        if action.nargs != 0:
            read = [getattr(parser.parse_args(words), name) for words in other_spellings(name, "2")]
            assert all(entry == read[0] != parser.get_default(name) for entry in read), name
    for words in (["--allow-download"], ["--allow_download"], ["allow_download=True"], ["--allow-download=true"]):
        assert parser.parse_args(words).allow_download


def test_a_resumed_run_keeps_its_options():
    read = parse_distill(["resume=runs/distill/a", "--heads.ratio", "1"])
    assert read == {"resume": "runs/distill/a", "heads.ratio": 1}, "distill refuses all but device"


def test_values_of_options_are_read_like_those_of_assignments():
    read = parse_distill(["--batch", "-1", "--device", "cpu", "--teacher-epochs", "0", "--imgsz=64"])
    assert read == {"batch": -1, "device": "cpu", "teacher_epochs": 0, "imgsz": 64}
    assert parse_distill(["teacher_epochs=auto"]) == {"teacher_epochs": "auto"}
    assert parse_distill(["data=d.yaml"]) == {"data": "d.yaml"}
    assert parse_distill(["name=007", "--project", "2024-01-01"]) == {"name": "007", "project": "2024-01-01"}
    assert parse_distill(["data=2024", "student=1e3"]) == {"data": "2024", "student": "1e3"}


@pytest.mark.parametrize(
    "words",
    [
        "--imgsz 320 imgsz=640",
        "imgsz=1 imgsz=2",
        "--imgsz 320 --imgsz 320",
        "--data a.yaml data=a.yaml",
        "--teacher a --teacher=b",
        "--device cpu device=cpu",
        "teacher_epochs=1 --teacher-epochs 2",
        "features.ratio=1 --features.ratio 2",
        "--cos-lr True cos_lr=True",
        "allow_download=False --allow-download",
    ],
)
def test_an_option_given_more_than_once_is_refused(words):
    with pytest.raises(UsageError, match="more than once"):
        parse_distill(words.split())


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("--studnet x", "did you mean '--student'"),
        ("--teacher", "expected one argument"),
        ("yolov8n", "neither an option nor its value"),
        ("imgz=3", "did you mean 'imgsz'"),
        ("studnet=x", "did you mean 'student'"),
        ("fg_weight=1", "did you mean 'features.fg_weight'"),
        ("--fg-weight 1", "did you mean '--features.fg_weight'"),
        ("heads.rato=1", "did you mean 'heads.ratio'"),
        ("teacher yolov8l", "'teacher' has no value: write teacher=MODEL or --teacher MODEL"),
        ("epochs = 3", "'epochs' has no value: write epochs=N or --epochs N"),
        ("teacher_epoch 3", "did you mean 'teacher_epochs'"),
        ("allow-download --student x", "'allow-download' is an option: write --allow-download"),
        ("-teacher yolov8l", "unknown option '-teacher', did you mean '--teacher'"),
        ("teacher=", "--teacher has no value"),
        ("--teacher ''", "--teacher has no value"),
        ("allow_download=maybe", "must be True or False"),
        ("model=x", "use --student for the student"),
        ("method=fgd features.fg_weight=-1", "features.fg_weight must be at least 0"),
        ("method=cwd features.fg_weight=1", "an option of method fgd, not of cwd"),
        ("--teach x", "unknown option '--teach'"),
    ],
)
def test_an_invalid_word_is_named(words, part):
    with pytest.raises(UsageError, match=part):
        parse_distill(shlex.split(words))


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (FGDError("no\n  way"), 1, "error: no way"),
        (UsageError("what?"), 2, "error: what?"),
        (KeyboardInterrupt("stopped; resume with: x"), 1, "stopped; resume with: x"),
        (KeyboardInterrupt(), 1, "stopped before anything was written"),
        (ValueError("two\nlines"), 1, "error: ValueError: two lines (--debug shows where)"),
        (ModuleNotFoundError("No", name="torch"), 1, "error: this needs torch: pip install 'fgd_yolo[train]'"),
        (ModuleNotFoundError("No x", name="x"), 1, "error: ModuleNotFoundError: No x (--debug shows where)"),
    ],
)
def test_every_error_is_one_line_and_an_exit_code(capsys, error, code, line):
    def fail():
        raise error

    assert guarded(fail) == code
    assert capsys.readouterr().err == f"{line}\n"


def test_the_program_calls_its_commands(capsys, monkeypatch):
    called = []
    monkeypatch.setattr(distill_command, "main", lambda words, prog: called.append((words, prog)) or 0)
    assert main(["distill", "a=1"]) == 0
    assert called == [(["a=1"], "fgd-yolo distill")]
    assert main(["--version"]) == 0 and __version__ in capsys.readouterr().out
    assert main(["distil"]) == 2
    assert "did you mean 'distill'" in capsys.readouterr().err
    assert main([]) == 2


@pytest.mark.parametrize("words", ["recipes", "export", "predict", "visualize", "benchmark", "benchmark inference"])
def test_every_command_gets_its_arguments_and_its_name(capsys, words):
    with pytest.raises(SystemExit) as stop:
        main([*words.split(), "--help"])
    assert stop.value.code == 0
    printed = capsys.readouterr().out
    examples, _, usage = printed.partition("examples:\n")[2].partition("\nusage: ")
    assert usage.startswith(f"fgd-yolo {words} ")
    assert 3 <= examples.count(f"  fgd-yolo {words}") <= 5


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("export --model a.pt --imgsz 320 --imgsz 640", "error: --imgsz given more than once"),
        ("export --model a.pt --imgsz 320 --imgsz 320", "error: --imgsz given more than once"),
        ("benchmark inference --rounds 10 --rounds 3", "error: --rounds given more than once"),
        ("benchmark inference --rounds few", "error: argument --rounds: must be an integer of at least 1, got 'few'"),
        ("benchmark inference --threads 0", "error: argument --threads: must be an integer of at least 1, got '0'"),
        ("predict --model a.onnx --source a --conf 2", "error: "),
        ("distill --student a --student a", "error: --student given more than once"),
        ("export model=best.pt", "error: 'model=best.pt' is not an option: write --model best.pt"),
        ("predict model=best.onnx --source a", "error: 'model=best.onnx' is not an option: write --model best.onnx"),
        ("stream max_megapixels=3", "error: 'max_megapixels=3' is not an option: write --max-megapixels 3"),
        ("benchmark inference model=a.pt", "error: 'model=a.pt' is not an option: write --model a.pt"),
        ("export --modle a.pt", "error: unknown option '--modle', did you mean '--model'? (see --help)"),
        ("recipes plian", "error: unknown recipe 'plian', did you mean 'plain'?"),
    ],
)
def test_every_command_refuses_an_invalid_argument_in_one_line(capsys, words, line):
    assert main(words.split()) == 2
    printed = capsys.readouterr().err
    assert printed.startswith(line) and printed.count("\n") == 1


@pytest.mark.parametrize(
    "error",
    [
        FGDError("data x.yaml cannot be used: " + ", ".join(f"{i}.jpg" for i in range(40_000)) + "; add them"),
        UsageError(f"data x.yaml cannot be used: '/{'long/' * 800}x.yaml' does not exist; add them"),
        RuntimeError("data x.yaml cannot be used: \x1b[31m\n\x1b[2Jtwo\r\n\u202elines\x9b" + "\0" * 999 + "; add them"),
        OSError("data x.yaml cannot be used: \ud800 \u200b; add them"),
    ],
)
@pytest.mark.parametrize("debug", [False, True])
def test_an_error_of_any_text_is_one_short_printable_line_with_its_beginning_and_its_advice(capsys, error, debug):
    def fail():
        raise error

    assert guarded(fail, debug=debug) in (1, 2)
    lines = capsys.readouterr().err.split("\n")
    assert lines.pop() == "" and all(line.isprintable() for line in lines)
    assert debug or len(lines) == 1
    assert len(lines[-1]) <= 300 and "data x.yaml cannot be used" in lines[-1] and "add them" in lines[-1]


def test_the_help_of_the_program_lists_every_command(capsys):
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    listed = lines[lines.index("commands:") + 1 : lines.index("options:") - 1]
    assert [line.split()[0] for line in listed] == [*COMMANDS]


@pytest.mark.parametrize("name", parsers())
def test_every_help_starts_with_its_description_and_examples_that_the_parser_accepts(name, capsys):
    parser = parsers()[name]
    text = parser.format_help()
    assert text.startswith(parser.description[:30])
    assert text.index("examples:") < text.index("usage:") < text.index("--help")
    assert 3 <= len(parser.examples) <= 5
    for command, explanation in parser.examples:
        assert f"  {command}\n      {explanation}" in text
        program = shlex.split(f"fgd-yolo {name}")
        words = shlex.split(command.partition(" > ")[0])
        assert words[: len(program)] == program
        parser.parse_args(words[len(program) :])
    assert max(map(len, text.splitlines())) <= 80


def test_the_parsers_load_no_torch():
    code = "import sys; from fgd_yolo.cli.main import parsers; parsers(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_an_unknown_command_is_one_short_line(capsys):
    assert main(["x\x1b[2J" * 5000]) == 2
    line = capsys.readouterr().err
    assert len(line) <= 301 and line[:-1].isprintable() and "--help" in line
