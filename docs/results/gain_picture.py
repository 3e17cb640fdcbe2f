"""Draw README's picture: `python gain_picture.py RESULTS PHOTO PLAIN_PT DISTILLED_PT OUTPUT`.

RESULTS is a folder of `tools/compare.py` with the three data sets; the photograph is shown with what the two
checkpoints find in it. Above: the curves of each method, mean and range over seeds. Below: every pair, and the mean
difference with its 95 % interval.
"""

import csv
import json
import sys
from pathlib import Path

import cv2
import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import t as student
from ultralytics import YOLO

BLUE = "#1f5fbf"
DATA = {"bccd": ("BCCD", "o"), "pcb": ("DeepPCB windows", "s"), "demo": ("demo scenes", "^")}
METHODS = {
    "plain": ("plain", "#888888"),
    "fitnet:share=0.1": ("fitnet", "#5aa05a"),
    "ultralytics:dis=0.7": ("Ultralytics distill_model=", "#d9821b"),
    "fgd": ("fgd_yolo", BLUE),
}
COLUMN, IMGSZ = "metrics/mAP50-95(B)", 128


def plain_axes(axes):
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def draw_curves(axes, results: Path, data: str, rows: list[dict], teacher: float):
    """Mean and range over seeds of each method, epoch by epoch."""
    for method, (name, colour) in METHODS.items():
        stem = f"{data}-{method.replace(':', '-').replace('=', '-')}"
        seeds = [row["seed"] for row in rows if (row["data"], row["method"]) == (data, method)]
        if not seeds:
            continue
        curves = [list(csv.DictReader((results / "curves" / f"{stem}-{seed}.csv").open())) for seed in seeds]
        values = np.array([[float(row[COLUMN]) for row in curve] for curve in curves])
        epochs = np.arange(1, values.shape[1] + 1)
        label = f"{name} ({len(seeds)} seed{'s' * (len(seeds) > 1)})"
        axes.plot(epochs, values.mean(0), color=colour, label=label, lw=1.6)
        axes.fill_between(epochs, values.min(0), values.max(0), color=colour, alpha=0.13, lw=0)
    axes.axhline(teacher, color="k", ls=":", lw=1)
    axes.text(1, teacher + 0.007, f"teacher yolov8s {teacher:.3f}", fontsize=9)
    axes.set(ylim=(0, 0.63), title=DATA[data][0])
    axes.set_xlabel("epoch", labelpad=1)
    axes.legend(frameon=False, loc="upper left" if data == "pcb" else "lower right", fontsize=9)
    plain_axes(axes)


def draw_pairs(axes, rows: list[dict]):
    """The difference of every pair, and their mean with its interval, one line of the picture for each method."""
    points = {(row["data"], row["method"], row["seed"]): 100 * float(row["map50_95"]) for row in rows}
    for height, method in enumerate(("fitnet:share=0.1", "ultralytics:dis=0.7", "plain")):
        pairs = [
            (data, points[data, "fgd", seed] - value)
            for (data, other, seed), value in points.items()
            if other == method and (data, "fgd", seed) in points
        ]
        for number, (data, gain) in enumerate(pairs):
            low = height - 0.22 + 0.04 * (number % 4)
            axes.plot(gain, low, DATA[data][1], color=BLUE, alpha=0.55, ms=6, mec="none")
        gains = np.array([gain for _, gain in pairs])
        mean, half = gains.mean(), student.ppf(0.975, len(gains) - 1) * gains.std(ddof=1) / len(gains) ** 0.5
        axes.plot([mean - half, mean + half], [height + 0.1] * 2, color="k", lw=2)
        axes.plot(mean, height + 0.1, "D", color="k", ms=7)
        said = f"{mean:+.2f} ({mean - half:+.2f} to {mean + half:+.2f}), n={len(gains)}"
        line = {"y": height + 0.28, "fontsize": 9, "transform": axes.get_yaxis_transform()}
        axes.text(x=0, s=f"over {METHODS[method][0].split()[0]}", fontweight="bold", **line)
        axes.text(x=1, s=said, ha="right", **line)
    for name, mark in DATA.values():
        axes.plot([], [], mark, color=BLUE, alpha=0.55, label=name, mec="none")
    axes.axvline(0, color="k", lw=0.8)
    axes.set(yticks=[], ylim=(-0.4, 2.7))
    axes.set_xlabel("fgd_yolo's gain, mAP50-95 points", labelpad=1)
    above = {"loc": "upper left", "bbox_to_anchor": (-0.02, 1.07), "ncol": 3}
    axes.legend(frameon=False, fontsize=8, handletextpad=0.1, columnspacing=0.8, **above)
    axes.spines["left"].set_visible(False)
    plain_axes(axes)


def draw_found(axes, checkpoint: str, photo: str, title: str):
    found = YOLO(checkpoint).predict(photo, imgsz=IMGSZ, conf=0.35, verbose=False, device="cpu")[0]
    axes.imshow(cv2.cvtColor(found.plot(line_width=2, font_size=12), cv2.COLOR_BGR2RGB))
    axes.set_axis_off()
    axes.set_title(title, fontsize=11)


def main(results: str, photo: str, plain_pt: str, distilled_pt: str, output: str) -> None:
    folder = Path(results)
    rows = list(csv.DictReader((folder / "runs.csv").open()))
    teachers = json.loads((folder / "compare.json").read_text())["teachers"]
    figure = plt.figure(figsize=(13, 7.6))
    grid = figure.add_gridspec(2, 6, wspace=0.25, hspace=0.22, left=0.05, right=0.99, top=0.955, bottom=0.065)
    for column, data in enumerate(DATA):
        axes = figure.add_subplot(grid[0, 2 * column : 2 * column + 2])
        draw_curves(axes, folder, data, rows, teachers[data]["map50_95"])
        if not column:
            axes.set_ylabel("mAP50-95, mean and range")
    draw_pairs(figure.add_subplot(grid[1, :2]), rows)
    draw_found(figure.add_subplot(grid[1, 2:4]), plain_pt, photo, "plain student, BCCD seed 0")
    draw_found(figure.add_subplot(grid[1, 4:]), distilled_pt, photo, "distilled student, BCCD seed 0")
    figure.savefig(output, dpi=90)


if __name__ == "__main__":
    main(*sys.argv[1:])
