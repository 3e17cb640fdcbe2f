"""The measured gradients of terms are those of a training's losses, as fractions of the detection loss's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.term_gradients import gradient_norm, main, markdown
from fixtures import draw_dataset, save_checkpoint


def test_the_norm_is_over_all_inputs_together_and_leaves_out_what_the_loss_does_not_depend_on():
    one, other, unused = torch.ones(2, requires_grad=True), torch.ones(1, requires_grad=True), torch.ones(1)
    loss = 2 * one.sum() - other.sum()
    assert gradient_norm(loss, [one, other, unused.requires_grad_()]) == pytest.approx((4 + 4 + 1) ** 0.5)
    assert gradient_norm(torch.ones(()), [one]) == 0


def test_the_table_has_a_column_for_each_place():
    norms = {"neck": {"detection loss": 0.5, "head_cls": 0.1234}, "one2one": {"detection loss": 2.0, "head_cls": 0.0}}
    assert markdown(norms).split("\n") == [
        "| gradient norm of | at the neck | in one2one |",
        "| --- | ---: | ---: |",
        "| detection loss | 0.5 | 2 |",
        "| head_cls | 0.123 | 0 |",
    ]


def table_of(capsys, folder: Path, teacher: str, student: str, method: str) -> dict[str, list[str]]:
    """Measure one batch of drawn images; return the cells of each row."""
    data = draw_dataset(folder / "data", train=4)
    checkpoint = save_checkpoint(folder / "teacher.pt", teacher, data)
    files = ["--teacher", str(checkpoint), "--student", student, "--data", str(data)]
    capsys.readouterr()
    assert main([*files, "--method", method, "--imgsz", "64", "--batch", "4", "--batches", "1"]) == 0
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in capsys.readouterr().out.splitlines()]
    return {name: cells for name, *cells in rows if name.startswith(("gradient", "detection", "head_", "all"))}


def test_the_terms_together_have_the_gradient_ratio_of_the_options_at_the_neck(tmp_path, capsys):
    table = table_of(capsys, tmp_path, "yolov8n.yaml", "yolov8n.yaml", "heads+dfine")
    assert [*table] == ["gradient norm of", "detection loss", "head_cls", "head_box", "head_dfine", "all terms"]
    assert table["all terms"] == ["0.5"]
    assert all(float(cells[0]) > 0 for name, cells in table.items() if name.startswith("head_"))


def test_a_head_with_two_branches_has_a_column_for_each(tmp_path, capsys):
    table = table_of(capsys, tmp_path, "yolo26n.yaml", "yolo26n.yaml", "heads")
    assert table["gradient norm of"] == ["at the neck", "in one2many", "in one2one"]
    assert table["all terms"][0] == "0.5" and all(float(cell) > 0 for cell in table["all terms"])
