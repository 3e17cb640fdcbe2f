"""The page of the families has every model YAML that the installed Ultralytics ships."""

from __future__ import annotations

import families_table
from ultralytics.utils import ROOT as ULTRALYTICS

from families import cases


def _names(rows) -> list[str]:
    return [row[0].strip("`") for row in rows]


def test_every_model_of_ultralytics_is_distilled_or_refused_with_a_reason():
    files = sorted(path.stem for path in (ULTRALYTICS / "cfg/models").rglob("*.yaml"))
    assert sorted(_names(families_table.families()) + _names(families_table.refused())) == files
    assert all(reason for *_, reason in families_table.refused())


def test_the_record_has_every_case():
    assert [(row["student"], row["teacher"]) for row in families_table.read_record()] == cases()


def test_a_model_that_ultralytics_adds_appears_by_itself(tmp_path, monkeypatch):
    folder = tmp_path / "cfg/models/27"
    folder.mkdir(parents=True)
    layers = "backbone: [[-1, 1, Conv, [64, 3, 2]]]\nhead: [[[0], 1, {}, [nc]]]\n"
    (folder / "yolo27-obb.yaml").write_text("scales: {n: [1, 1, 64]}\n" + layers.format("OBB26"))
    (folder / "yolo27-cls.yaml").write_text(layers.format("Classify"))
    monkeypatch.setattr(families_table, "ULTRALYTICS", tmp_path)
    classifier, rotated = families_table.shipped()
    assert (classifier.task, rotated.task, rotated.scale, rotated.folder) == (None, "obb", "n", "27")
    assert _names(families_table.refused()) == ["yolo27-cls"]


def test_a_part_of_the_matrix_changes_its_own_rows_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(families_table, "RECORD", tmp_path / "families.csv")

    def row(student: str, terms: str) -> dict[str, str]:
        return dict.fromkeys(families_table.COLUMNS, "") | {"student": student, "teacher": "t", "terms": terms}

    a, b, c = (("a", "t"), ("b", "t"), ("c", "t"))
    families_table.update_record({c: row("c", "old"), a: row("a", "old"), b: row("b", "old")}, [a, b, c])
    families_table.update_record({a: None, b: row("b", "new")}, [a, b, c])
    assert families_table.read_record() == [row("b", "new"), row("c", "old")]
    families_table.update_record({}, [b])
    assert families_table.read_record() == [row("b", "new")]
