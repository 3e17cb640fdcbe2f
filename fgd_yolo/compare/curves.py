"""The learning curve of a run: what the host wrote after each epoch."""

from __future__ import annotations

import csv
from pathlib import Path

from fgd_yolo.compare.method_specs import folder_name
from fgd_yolo.compare.results_csv import Run
from fgd_yolo.files import atomic_path

CURVES = "curves"
MAP50_95 = "metrics/mAP50-95(B)"
SHARE = "share"  # of all that is distilled in the gradient; ours, from these two of our trainer
_PARTS = ("fgd/gradient_ratio", "fgd/head_gradient_ratio")


def read_results(path: Path) -> list[dict[str, float]]:
    """Read the host's `results.csv`: one row an epoch, in order.

    An epoch that a continued training wrote twice counts as it was written last; a damaged row counts as none. Where
    something was distilled `share` is added, the sum of the shares of features and heads.

    Args:
        path: the file; may be missing.
    """
    if not path.is_file():
        return []
    by_epoch = {}
    text = path.read_text(encoding="utf-8", errors="replace").replace("\0", "")  # csv stops at a NUL
    for row in csv.DictReader(text.splitlines(), skipinitialspace=True):
        try:
            values = {key.strip(): float(value) for key, value in row.items()}
            by_epoch[values["epoch"]] = values
        except (AttributeError, KeyError, TypeError, ValueError):
            continue
        if parts := [values[part] for part in _PARTS if part in values]:
            values[SHARE] = sum(parts)
    return [by_epoch[epoch] for epoch in sorted(by_epoch)]


def curve_file(output: Path, run: Run) -> Path:
    """Return where the curve of a run is kept."""
    return output / CURVES / f"{folder_name(run.data)}-{folder_name(run.method)}-{run.seed}.csv"


def keep_curve(output: Path, run: Run, results: Path) -> None:
    """Copy a run's curve beside the others."""
    rows = read_results(results)
    if not rows:
        return
    with atomic_path(curve_file(output, run)) as path, path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(rows[0])
        writer.writerows([f"{value:.6g}" for value in row.values()] for row in rows)
