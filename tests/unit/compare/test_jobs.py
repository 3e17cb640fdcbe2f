from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from ultralytics.data.utils import img2label_paths

from fgd_yolo.compare import jobs as jobs_module
from fgd_yolo.compare.comparability import check_comparable
from fgd_yolo.compare.jobs import (
    JOB,
    RESULT,
    Job,
    plan_data,
    plan_jobs,
    prepare_data,
    read_job,
    read_result,
    write_job,
    write_result,
)
from fgd_yolo.compare.labelled_part import labelled_names
from fgd_yolo.compare.options import ComparisonOptions, parse_method, parse_methods, preset_methods
from fgd_yolo.config import FGDConfig
from fgd_yolo.datasets import read_dataset
from fgd_yolo.errors import FGDError, UsageError
from fixtures import draw_dataset, rename_classes, save_checkpoint
from unit.compare.example_runs import example_run


@pytest.fixture
def job(tmp_path) -> Job:
    folder = tmp_path / "run"
    planned = example_run("fgd", 0, teacher_digest="t")
    return Job(folder, folder, "cells.yaml", "s.yaml", ["t.pt"], parse_method("fgd"), {}, planned)


def test_data_whose_val_labels_are_a_teachers_are_refused(teacher_pt, student_yaml, tmp_path):
    data = draw_dataset(tmp_path / "data", train=4, val=2)
    train = {"imgsz": 64, "epochs": 1, "batch": 4, "device": "cpu"}
    options = ComparisonOptions(tmp_path, [str(data)], [str(teacher_pt)], str(student_yaml), parse_methods(["fgd"]))
    assert plan_data(options, str(data), str(data), 0, (train, None)).dataset.scan.val_images == 2
    mark = {"labelled_by": {"teacher": "t.pt", "score": 0.6}}
    data.write_text(yaml.safe_dump(yaml.safe_load(data.read_text()) | mark))
    with pytest.raises(FGDError, match=r"are the objects of t\.pt, so nothing measured on them is accuracy"):
        plan_data(options, str(data), str(data), 0, (train, None))


def test_ultralytics_own_distillation_is_refused_in_bfloat16_on_a_cpu_before_anything_is_trained(
    teacher_pt, student_yaml, tiny_data, tmp_path, monkeypatch
):
    monkeypatch.setattr("fgd_yolo.training.speed.cpu_autocast.has_bfloat16", lambda: True)
    train = {"imgsz": 64, "epochs": 1, "batch": 4, "device": "cpu", "amp": "bf16"}
    given = tmp_path / "out", [str(tiny_data)], [str(teacher_pt)], str(student_yaml)
    options = ComparisonOptions(*given, parse_methods(["fgd", "ultralytics:dis=3"]), [0], train=train)
    with pytest.raises(UsageError, match=r"^ultralytics:dis=3: Ultralytics' own .* amp=bf16 on a CPU: leave out one$"):
        prepare_data(options)
    assert not (tmp_path / "out").exists()
    assert prepare_data(replace(options, methods=parse_methods(["fgd"])))


@pytest.mark.parametrize("content", [b"", b"[1]", b"{", b"null", b'{"method": 3}', bytes(range(256))])
def test_damaged_files_of_a_run_are_measured_again_or_a_one_line_error(content, job, capsys):
    write_job(job)
    assert read_job(job.folder) == job
    (job.folder / JOB).write_bytes(content)
    with pytest.raises(FGDError, match=rf"job\.json is damaged: remove {job.folder} to make this run again"):
        read_job(job.folder)
    (job.folder / RESULT).write_bytes(content)
    assert read_result(job) is None
    assert "run.json is damaged: the run is measured again" in capsys.readouterr().out


def test_a_run_without_a_finite_result_is_measured_again(job):
    for value, valid in ((0.25, True), (math.nan, False), (None, False)):
        write_job(job)
        write_result(job, job.planned.with_values(map50_95=value, map50=0.5))
        assert (read_result(job) is not None) == valid


def test_a_teacher_that_knows_the_classes_by_the_map_of_a_method_is_used_as_it_is(
    teacher_pt, student_yaml, tiny_data, tmp_path
):
    teacher = rename_classes(teacher_pt, tmp_path / "other.pt", "disc", "cat", "wedge")
    for methods, as_it_is in ((["fgd"], False), (["plain", "fgd:map=cat=block"], True)):
        options = ComparisonOptions(
            tmp_path / "out",
            [str(tiny_data)],
            [str(teacher)],
            str(student_yaml),
            parse_methods(methods),
            seeds=[0],
            train={"imgsz": 64, "epochs": 1, "batch": 4, "device": "cpu"},
        )
        plan = plan_data(options, str(tiny_data), str(tiny_data), 0, (dict(options.train), None))
        assert plan.fine_tuned == (not as_it_is,)


def test_the_default_of_a_preset_is_what_of_it_the_teachers_can_teach(teacher_pt, tiny_data, tmp_path, capsys):
    methods = preset_methods("pays-off", FGDConfig(heads={"ratio": 0.25}))
    train = {"imgsz": 64, "epochs": 1, "batch": 4, "device": "cpu"}
    for student, label in (("yolov8n.yaml", "heads+dfine"), ("yolo26n.yaml", "heads")):
        options = ComparisonOptions(
            tmp_path / student, [str(tiny_data)], [str(teacher_pt)], student, methods, seeds=[0], train=train
        )
        (plain, distilled) = plan_jobs(options, prepare_data(options))
        assert (plain.planned.method, distilled.planned.method) == ("plain", f"{label}:heads.ratio=0.25")
        assert (distilled.method.config.method, distilled.method.config.heads.ratio) == (label, 0.25)
        assert ("method heads, not the default" in capsys.readouterr().out) == (label == "heads")
    named = parse_methods(["heads+dfine"])
    options = ComparisonOptions(
        tmp_path / "named", [str(tiny_data)], [str(teacher_pt)], "yolo26n.yaml", named, seeds=[0], train=train
    )
    assert [job.planned.method for job in plan_jobs(options, prepare_data(options))] == ["heads+dfine"]


def test_a_recipe_without_a_method_keeps_all_else_that_was_asked_of_it(teacher_pt, tiny_data, tmp_path):
    (tmp_path / "mine.yaml").write_text("heads: {ratio: 0.25}")
    recipe, student = tmp_path / "mine.yaml", "yolo26n.yaml"
    words = [f"{recipe}:box=15", f"{recipe}:frames=true", f"{recipe}:labels=all", "heads:heads.ratio=0.25"]
    options = few_labels(str(teacher_pt), student, tiny_data, tmp_path / "out", words)
    jobs = plan_jobs(options, prepare_data(replace(options, seeds=[0])))
    asked = [(job.method.gains, job.method.frames, job.method.labels) for job in jobs]
    assert asked == [({"box": 15}, False, ""), ({}, True, ""), ({}, False, "all"), ({}, False, "")]
    assert {job.method.config.method for job in jobs} == {"heads"}
    assert len({job.planned.method for job in jobs}) == len({job.folder for job in jobs}) == 4


def test_a_default_without_a_class_that_is_taught_is_fgd_as_in_a_run(teacher_pt, tiny_data, tmp_path):
    foreign = [
        str(rename_classes(teacher_pt, tmp_path / f"{name}.pt", *f"{name}a {name}b {name}c".split())) for name in "xy"
    ]
    methods = preset_methods("pays-off", FGDConfig())
    train = {"imgsz": 64, "epochs": 1, "batch": 4, "device": "cpu"}
    options = ComparisonOptions(
        tmp_path / "out", [str(tiny_data)], [",".join(foreign)], "yolov8n.yaml", methods, seeds=[0], train=train
    )
    assert [job.planned.method for job in plan_jobs(options, prepare_data(options))] == ["plain", "fgd"]


def few_labels(teacher: str, student: Path, data: Path, output: Path, methods: list[str]) -> ComparisonOptions:
    return ComparisonOptions(
        output,
        [str(data)],
        [teacher],
        str(student),
        parse_methods(methods),
        seeds=[0, 1],
        train={"imgsz": 64, "epochs": 1, "batch": 4, "device": "cpu"},
        label_fraction=0.5,
    )


def test_each_seed_has_its_own_labels_and_teacher_and_all_methods_of_a_seed_the_same(
    teacher_pt, student_yaml, tiny_data, tmp_path
):
    for seed in (0, 1):  # other bytes, since the digest of a teacher is that of its file
        (tmp_path / f"tiny-{seed}.pt").write_bytes(teacher_pt.read_bytes() + b" " * seed)
    options = few_labels(
        f"{tmp_path}/{{data}}-{{seed}}.pt",
        student_yaml,
        tiny_data,
        tmp_path / "out",
        ["plain", "fgd", "fgd:labels=all"],
    )
    jobs = plan_jobs(options, prepare_data(options))
    assert [job.planned.seed for job in jobs] == [0, 0, 0, 1, 1, 1]
    for seed, (plain, fgd, whole) in enumerate((jobs[:3], jobs[3:])):
        assert [job.teachers for job in (plain, fgd, whole)] == [[], *[[f"{tmp_path}/tiny-{seed}.pt"]] * 2]
        assert plain.data == fgd.data != whole.data
        assert [job.planned.labelled_images for job in (plain, fgd, whole)] == [6, 6, 12]
        listed = [image.name for image in read_dataset(plain.data, recorded=True).images("train")]
        assert set(listed) == labelled_names(
            {image.name for image in read_dataset(tiny_data).images("train")}, 0.5, seed
        )
    rows = [job.planned for job in jobs]
    assert {(row.train_images, row.label_fraction, row.val_digest) for row in rows} == {(12, 0.5, rows[0].val_digest)}
    assert len({row.labelled_digest for row in rows}) == 2
    check_comparable(rows, "runs.csv")


def test_a_held_out_part_of_the_train_images_is_measured_on_and_the_rest_keeps_some_labels(
    teacher_pt, student_yaml, tiny_data, tmp_path
):
    options = few_labels(str(teacher_pt), student_yaml, tiny_data, tmp_path / "out", ["plain"])
    options = replace(options, val_fraction=0.25, seeds=[0])
    [job] = plan_jobs(options, prepare_data(options))
    assert (job.planned.train_images, job.planned.val_images, job.planned.labelled_images) == (9, 3, 4)


def test_a_teacher_that_does_not_know_the_classes_is_trained_on_the_labelled_part_alone(
    teacher_pt, student_yaml, tiny_data, tmp_path, monkeypatch
):
    trained = []

    def prepare(teacher, dataset, *_, fine_tuned, **__) -> Path:
        trained.append((fine_tuned, {image.name for image in dataset.images("train")}))
        return Path(teacher.file)

    monkeypatch.setattr(jobs_module, "prepare_teacher", prepare)
    teacher = rename_classes(teacher_pt, tmp_path / "other.pt", "one", "two", "three")
    options = few_labels(str(teacher), student_yaml, tiny_data, tmp_path / "out", ["plain", "fgd"])
    prepare_data(options)
    names = {image.name for image in read_dataset(tiny_data).images("train")}
    assert trained == [(True, labelled_names(names, 0.5, seed)) for seed in (0, 1)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label_fraction": -1}, r"--label-fraction must be a fraction of the train images in \[0, 1\], got -1"),
        ({"label_fraction": 0}, "fgd needs labels, and --label-fraction 0 leaves none"),
        ({"label_fraction": 1.5}, "got 1.5"),
        ({"label_fraction": 1.0}, "plain:labels=all needs --label-fraction"),
        ({"label_fraction": 1.0, "methods": parse_methods(["fgd:frames=true"])}, "fgd:frames=true needs --label-frac"),
        ({"label_fraction": 1.0, "methods": parse_methods(["pseudo-labels"])}, "pseudo-labels needs --label-fraction"),
        ({"teachers": ["a.pt,b.pt"], "methods": parse_methods(["pseudo-labels"])}, "has one teacher, not a.pt,b.pt"),
        (
            {"label_fraction": 1.0, "methods": parse_methods(["fgd"])},
            r"--teacher t-\{seed\}\.pt needs --label-fraction",
        ),
        ({"runs": [Path("run")]}, "--label-fraction cannot be used with --runs"),
        ({"train": {"fraction": 0.5}}, "fraction=0.5 is not accepted here: keep the labels .* with --label-fraction"),
    ],
)
def test_options_about_labels_that_cannot_be_are_one_line_errors(changes, message):
    options = few_labels("t-{seed}.pt", Path("s.yaml"), Path("d.yaml"), Path("out"), ["plain:labels=all", "fgd"])
    with pytest.raises(UsageError, match=message):
        replace(options, **changes)


def test_images_without_labels_are_frames_or_have_those_of_the_teacher(teacher_pt, student_yaml, tiny_data, tmp_path):
    methods = ["plain", "fgd:frames=true", "pseudo-labels:score=0.001"]
    options = few_labels(str(teacher_pt), student_yaml, tiny_data, tmp_path / "out", methods)
    options = replace(options, seeds=[1])
    plain, frames, pseudo = plan_jobs(options, prepare_data(options))
    train = {image.name: image for image in read_dataset(tiny_data).images("train")}
    chosen = labelled_names(train, 0.5, 1)

    assert [job.unlabeled is None for job in (plain, frames, pseudo)] == [True, False, True]
    assert Path(frames.unlabeled).read_text().splitlines() == [
        str(train[name]) for name in sorted(train.keys() - chosen)
    ]
    assert {image.name for image in read_dataset(frames.data, recorded=True).images("train")} == chosen

    links = read_dataset(pseudo.data, recorded=True).images("train")
    assert sorted(link.resolve().name for link in links) == sorted(train)
    objects = 0
    for link, label in zip(links, map(Path, img2label_paths([str(link) for link in links])), strict=True):
        if link.resolve().name in chosen:
            assert label.resolve().parent == tiny_data.parent / "labels/train"
        else:
            assert label.resolve() == label.absolute() and label.is_file()  # written here, no link to the user's
            objects += len(label.read_text().splitlines())
    assert objects > 0
    check_comparable([job.planned for job in (plain, frames, pseudo)], "runs.csv")
    assert [job.planned.train_images for job in (plain, frames, pseudo)] == [12, 12, 12]
    again = plan_jobs(options, prepare_data(options))
    assert [job.planned for job in again] == [job.planned for job in (plain, frames, pseudo)]


def test_a_teacher_that_finds_nothing_labels_nothing(teacher_pt, student_yaml, tiny_data, tmp_path):
    options = few_labels(str(teacher_pt), student_yaml, tiny_data, tmp_path / "out", ["pseudo-labels:score=0.99"])
    with pytest.raises(FGDError, match=r"teacher\.pt finds no object with a score above 0\.99 on 6 images"):
        prepare_data(options)


def test_without_labels_the_teacher_must_know_the_classes(teacher_pt, student_yaml, tiny_data, tmp_path):
    methods = ["plain:labels=all", "fgd:frames=true", "pseudo-labels:score=0.001"]
    options = few_labels(str(teacher_pt), student_yaml, tiny_data, tmp_path / "out", methods)
    options = replace(options, label_fraction=0, seeds=[0])
    jobs = plan_jobs(options, prepare_data(options))
    assert [(job.planned.train_images, job.planned.labelled_images) for job in jobs] == [(12, 12), (12, 0), (12, 0)]
    check_comparable([job.planned for job in jobs], "runs.csv")

    teacher = rename_classes(teacher_pt, tmp_path / "other.pt", "one", "two", "three")
    with pytest.raises(UsageError, match=r"other does not know all classes of tiny\.yaml, and there are no labels"):
        prepare_data(replace(options, teachers=[str(teacher)]))


def test_students_that_have_seen_the_images_that_they_are_measured_on_are_refused(student_yaml, tiny_data, tmp_path):
    """By what the student starts from, on the split that is reported."""
    seen = save_checkpoint(tmp_path / "seen.pt", student_yaml, tiny_data)
    train, val = (sorted((tiny_data.parent / "images" / split).iterdir()) for split in ("train", "val"))
    leaky = draw_dataset(tmp_path / "leaky")
    shutil.copy(train[0], leaky.parent / "images/val/copy.png")  # another name, the same content
    tested = tmp_path / "tested.yaml"
    tested.write_text(
        yaml.safe_dump({**yaml.safe_load(leaky.read_text()), "val": str(val[0].parent), "test": "images/val"})
    )
    plain = {"methods": parse_methods(["plain"]), "seeds": [0]}
    start = {"student": str(seen)}
    other = {"student": str(student_yaml), "pretrained": str(seen)}
    cases = [
        (start, tiny_data, {}, None),
        (start, leaky, {}, "1 of the 7 val"),
        (other, leaky, {}, "1 of the 7 val"),
        ({**start, "pretrained": False}, leaky, {}, None),
        (start, tested, {}, None),
        (start, tested, {"split": "test"}, "1 of the 7 test"),
        (start, tiny_data, {"val_fraction": 0.5}, "6 of the 6 val"),
    ]
    for student, data, changes, message in cases:
        arguments = {
            "imgsz": 64,
            "epochs": 1,
            "batch": 4,
            "device": "cpu",
            **{key: changes[key] for key in changes if key == "split"},
        }
        arguments |= {key: student[key] for key in student if key == "pretrained"}
        held_out = {"val_fraction": changes.get("val_fraction", 0.0)}
        names = {"student": student["student"], "train": arguments, **held_out, **plain}
        options = ComparisonOptions(tmp_path / "out", [str(data)], **names)
        if message is None:
            assert prepare_data(options)
        else:
            with pytest.raises(FGDError, match=f"was trained on {message} images"):
                prepare_data(options)
