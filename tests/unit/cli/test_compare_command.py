from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from fgd_yolo.cli.compare_command import main, parse
from fgd_yolo.errors import UsageError
from shell import loaded_by

ROOT = Path(__file__).parents[3]
ASKED = "--teacher t.pt --student s.yaml --methods plain fgd"


@pytest.mark.parametrize("words", [["--help"], ["--methods", "fgs"], ["--report", "nowhere", "--jobs", "2"]])
def test_help_and_usage_errors_do_not_import_torch(words):
    assert loaded_by(["compare", *words], {"torch", "ultralytics", "matplotlib"}) == "[]"


def test_downloads_need_allow_download():
    assert parse([*ASKED.split(), "--allow-download"]).allow_download
    assert not parse(ASKED.split()).allow_download


def test_the_help_lists_common_ablations():
    script = [sys.executable, str(ROOT / "tools/compare.py"), "--help"]
    text = subprocess.run(script, capture_output=True, text=True, check=True).stdout
    for words in ("--val-fraction", "--runs", "--report", "fgd:features.rel_weight=0", "ultralytics:dis=3"):
        assert words in text


@pytest.mark.parametrize(
    ("words", "seeds"),
    [
        ("", [0, 1, 2]),
        ("--seeds 2", [0, 1]),
        ("--seeds 2 --first-seed 5", [5, 6]),
        ("--seeds 0 4 7", [0, 4, 7]),
        ("seeds=2", [0, 1]),
        ("seeds=0,4,7", [0, 4, 7]),
        ("--seeds=[0,4,7]", [0, 4, 7]),
        ("seeds=2 first_seed=5", [5, 6]),
    ],
)
def test_a_single_number_is_the_number_of_seeds_and_several_are_the_seeds(words, seeds):
    assert parse([*ASKED.split(), *words.split()]).seeds == seeds


def test_train_arguments_may_follow_lists():
    methods = "--methods plain fgd:features.ratio=0.1 cos_lr=True"
    options = parse(f"{methods} --seeds 2 lr0=1e-3 --teacher t.pt --student s.yaml --imgsz 64".split())
    assert options.train == {"imgsz": 64, "cos_lr": True, "lr0": 0.001}
    assert [method.label for method in options.methods] == ["plain", "fgd:features.ratio=0.1"]
    assert options.seeds == [0, 1]


@pytest.mark.parametrize(
    "words",
    [
        "--methods plain fgd+heads:heads.ratio=1,features.rel_weight=0 fitnet",
        "methods=plain,fgd+heads:heads.ratio=1,features.rel_weight=0,fitnet",
        "--methods=[plain,fgd+heads:heads.ratio=1,features.rel_weight=0,fitnet]",
        "methods=plain fgd+heads:heads.ratio=1,features.rel_weight=0 fitnet",
    ],
)
def test_methods_are_a_list_in_which_an_option_belongs_to_the_method_before_it(words):
    methods = parse([*["teacher=t.pt", "student=s.yaml"], *words.split()]).methods
    assert [method.label for method in methods] == ["plain", "fgd+heads:heads.ratio=1,features.rel_weight=0", "fitnet"]


@pytest.mark.parametrize(
    ("words", "folder"),
    [
        ("", "runs/compare/s"),
        ("name=mine", "runs/compare/mine"),
        ("--project out", "out/s"),
        ("project=out --name=007", "out/007"),
    ],
)
def test_the_folder_is_named_by_project_and_name_or_by_the_student(words, folder):
    assert parse([*ASKED.split(), *words.split()]).output == Path(folder)


def test_data_sets_and_teachers_are_paired_in_their_order():
    words = "--data a.yaml --teacher a.pt --data b.yaml --teacher b.pt --student s.yaml --methods fgd"
    options = parse(words.split())
    assert [options.teacher_of(data, 0) for data in options.data] == ["a.pt", "b.pt"]
    shared = parse(["data=a.yaml", "--data", "b.yaml", *ASKED.split()])
    assert [shared.teacher_of(data, 0) for data in shared.data] == ["t.pt", "t.pt"]
    assert parse(["--student", "s.yaml", "--methods", "plain"]).teacher_of("demo", 0) is None
    words = "--data a.yaml --teacher a.pt,b.pt --data b.yaml --teacher b.pt --student s.yaml --methods fgd"
    options = parse(words.split())
    assert [options.teacher_of(data, 0) for data in options.data] == ["a.pt,b.pt", "b.pt"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--student s.yaml", "missing --methods"),
        ("--methods plain", "missing --student"),
        ("--student s.yaml --methods fgd", "1 data sets and 0 teachers"),
        (f"{ASKED} --data a.yaml --data b.yaml --data c.yaml --teacher u.pt", "3 data sets and 2 teachers"),
        (f"{ASKED} --data x/a.yaml --data y/a.yaml", "two data sets are named a"),
        (
            "teacher=t.pt,u.pt student=s.yaml methods=plain,ultralytics",
            "ultralytics has one teacher, not t.pt,u.pt",
        ),
        ("teacher=t.pt,t.pt student=s.yaml methods=fgd", "teacher t.pt given more than once"),
        (
            "data=a.yaml teacher=t.pt,u.pt data=b.yaml teacher=t.pt student=s.yaml methods=fgd:features.teacher=2",
            "needs teacher 2, but --teacher t.pt names 1",
        ),
        (f"{ASKED} --data my-a.yaml --data 'my a.yaml'", "two data sets are named my-a"),
        (f"{ASKED} seed=3", "--seeds"),
        (f"{ASKED} time=1", "different numbers of epochs"),
        (f"{ASKED} --batch -1", "give a fixed batch size"),
        (f"{ASKED} dis=3", "ultralytics:dis=3"),
        (f"{ASKED} --epochs 3 epochs=4", "more than once"),
        (f"{ASKED} epoks=4", "did you mean 'epochs'"),
        (f"{ASKED} --seeds 0", "a single number is the number of seeds"),
        (f"{ASKED} --seeds 1 1", "must be different"),
        (f"{ASKED} --seeds 1 2 --first-seed 3", "--first-seed 3 cannot be used with --seeds 1 2"),
        (f"{ASKED} --seeds x", "must be integers"),
        (f"{ASKED} --jobs 0", "--jobs"),
        (f"{ASKED} --val-fraction 1", r"in \[0, 1\)"),
        (f"{ASKED} --val-fraction some", "such as 0.2"),
        (f"{ASKED} --runs a --val-fraction 0.2", "--val-fraction cannot be used with --runs"),
        (f"{ASKED} --projcet x", "did you mean '--project'"),
        (f"{ASKED} heads.ratio=1", "write it after a method, such as heads\\+dfine:heads.ratio="),
        (f"{ASKED} features.fg-weight=1", "write it after a method, such as heads\\+dfine:features.fg_weight="),
        (f"{ASKED} heads.rato=1", r"did you mean 'heads.ratio'\? \(write it after a method"),
        (f"{ASKED} fg_weight=1", r"did you mean 'features.fg_weight'\? \(write it after a method"),
        (f"{ASKED} recipe=mine.yaml", "recipe mine.yaml does not exist"),
        (f"{ASKED} --teacher-epochs 3", "is fine-tuned for --epochs"),
        (f"{ASKED} resume=runs/a", "run the same command again"),
        (f"{ASKED} cfg=mine.yaml", "recipes as methods"),
        (f"{ASKED} distill_model=t.pt", "name the method ultralytics"),
        (f"{ASKED} methods=heads", "--methods given more than once"),
        (f"{ASKED} seeds=2 --seeds 3", "--seeds given more than once"),
    ],
)
def test_invalid_options_are_a_one_line_error_before_anything_starts(words, message):
    with pytest.raises(UsageError, match=message):
        parse(shlex.split(words))


def test_report_accepts_no_other_option(capsys):
    assert main(["--report", "here", "--jobs", "2"]) == 2
    assert main(["--report", "here", "imgsz=3"]) == 2
    assert "accepts no other option: leave out --imgsz" in capsys.readouterr().err


def test_a_folder_without_runs_has_no_report(capsys):
    assert main(["--report", "nowhere"]) == 1
    assert "has no finished run" in capsys.readouterr().err


def test_a_preset_chooses_the_methods():
    options = parse(["--preset", "pays-off", "--data", "d.yaml", "--teacher", "t.pt", "--student", "yolov8n"])
    assert [method.label for method in options.methods] == ["plain", "heads+dfine"]
    assert (options.seeds, options.train) == ([0, 1, 2], {})
    assert parse(["preset=pays-off", "teacher=t.pt", "student=s.yaml", "seeds=5"]).seeds == [0, 1, 2, 3, 4]


def test_a_recipe_gives_what_the_command_line_leaves_out(tmp_path):
    recipe = tmp_path / "distill.yaml"
    recipe.write_text(
        "{teacher: [a.pt, b.pt], student: s.yaml, data: d.yaml, method: pkd, map: {lorry: truck}, "
        "train: {epochs: 7, imgsz: 96, seed: 2, project: runs, name: mine, task: detect}}"
    )
    options = parse(["--preset", "pays-off", "--recipe", str(recipe), "--epochs", "9", "--data", "other.yaml"])
    assert [method.label for method in options.methods] == ["plain", "pkd"]
    assert options.class_map == {"lorry": "truck"}
    assert (options.data, options.teachers, options.student) == (["other.yaml"], ["a.pt,b.pt"], "s.yaml")
    assert options.train == {"epochs": 9, "imgsz": 96}
    assert options.output == Path("runs/compare/s")
    own = parse(["--methods", "fitnet", "--recipe", str(recipe), "--student", "t.yaml"])
    assert [method.label for method in own.methods] == ["fitnet"]
    assert (own.data, own.student) == (["d.yaml"], "t.yaml")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--preset pays-of --student s.yaml --teacher t.pt", "preset 'pays-of' is unknown, did you mean 'pays-off'"),
        (f"{ASKED} --preset pays-off", "--preset pays-off chooses the methods: leave out it or --methods"),
        ("--preset pays-off --recipe plain --student s.yaml", "the recipe distils nothing"),
        (
            "--preset pays-off --recipe FRAMES --student s.yaml",
            "trains on unlabelled frames, whose accuracy is not known",
        ),
        ("--preset pays-off --recipe nowhere.yaml", "recipe nowhere.yaml does not exist"),
        ("--preset pays-off --student s.yaml", "1 data sets and 0 teachers"),
        ("--preset pays-off --teacher t.pt", "missing --student"),
        ("--student s.yaml", "missing --methods: .* or --preset pays-off"),
    ],
)
def test_a_preset_that_cannot_be_made_is_refused(words, message, tmp_path):
    (tmp_path / "frames.yaml").write_text("{teacher: t.pt, unlabeled: frames}")
    with pytest.raises(UsageError, match=message):
        parse(words.replace("FRAMES", str(tmp_path / "frames.yaml")).split())
