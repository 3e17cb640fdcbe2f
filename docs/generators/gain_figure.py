"""Draw the README's figure: `python gain_figure.py RESULTS IMAGE PLAIN_PT DISTILLED_PT OUTPUT`.

RESULTS is a folder of `tools/compare.py` with the three data sets; IMAGE is shown with the detections of the two
checkpoints. Above: the curves of each method, mean and range over seeds. Below: all pairs, and the mean difference
with its 95 % interval.
"""

import sys
from pathlib import Path

import cv2
import matplotlib.pyplot as plt
from ultralytics import YOLO

from fgd_yolo.compare.paired_differences import estimate, pairs
from fgd_yolo.compare.plots import seed_band
from fgd_yolo.compare.results import MAP50_95, RUNS, curve_file, read_context, read_curve, read_runs

BLUE = "#1f5fbf"
DATA = {"bccd": ("BCCD", "o"), "pcb": ("DeepPCB windows", "s"), "demo": ("demo scenes", "^")}
METHODS = {
    "plain": ("plain", "#888888"),
    "fitnet:features.ratio=0.1": ("fitnet", "#5aa05a"),
    "ultralytics:dis=0.7": ("Ultralytics distill_model=", "#d9821b"),
    "fgd": ("fgd_yolo", BLUE),
}
IMGSZ = 128


def plain_axes(axes):
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def draw_curves(axes, data: str, curves: dict, teacher: float):
    """Draw mean and range over seeds of each method for each epoch."""
    for method, (name, colour) in METHODS.items():
        seeds = sum(key[:2] == (data, method) for key in curves)
        epochs, means, lows, highs = zip(*seed_band(curves, data, method, MAP50_95), strict=True)
        axes.plot(epochs, means, color=colour, label=f"{name} ({seeds} seeds)", lw=1.6)
        axes.fill_between(epochs, lows, highs, color=colour, alpha=0.13, lw=0)
    axes.axhline(teacher, color="k", ls=":", lw=1)
    axes.text(1, teacher + 0.007, f"teacher yolov8s {teacher:.3f}", fontsize=9)
    axes.set(ylim=(0, 0.63), title=DATA[data][0])
    axes.set_xlabel("epoch", labelpad=1)
    axes.legend(frameon=False, loc="upper left" if data == "pcb" else "lower right", fontsize=9)
    plain_axes(axes)


def draw_pairs(axes, runs: list):
    """Draw the difference of every pair, and their mean with its interval, one line per method."""
    for height, method in enumerate(("fitnet:features.ratio=0.1", "ultralytics:dis=0.7", "plain")):
        differences = pairs(runs, "fgd", method)
        for number, pair in enumerate(differences):
            low = height - 0.22 + 0.04 * (number % 4)
            axes.plot(pair.points, low, DATA[pair.data][1], color=BLUE, alpha=0.55, ms=6, mec="none")
        gain = estimate([pair.points for pair in differences])
        axes.plot([gain.low, gain.high], [height + 0.1] * 2, color="k", lw=2)
        axes.plot(gain.mean, height + 0.1, "D", color="k", ms=7)
        summary = f"{gain.mean:+.2f} ({gain.low:+.2f} to {gain.high:+.2f}), n={gain.n}"
        line = {"y": height + 0.28, "fontsize": 9, "transform": axes.get_yaxis_transform()}
        axes.text(x=0, s=f"over {METHODS[method][0].split()[0]}", fontweight="bold", **line)
        axes.text(x=1, s=summary, ha="right", **line)
    for name, mark in DATA.values():
        axes.plot([], [], mark, color=BLUE, alpha=0.55, label=name, mec="none")
    axes.axvline(0, color="k", lw=0.8)
    axes.set(yticks=[], ylim=(-0.4, 2.7))
    axes.set_xlabel("fgd_yolo's gain, mAP50-95 points", labelpad=1)
    above = {"loc": "upper left", "bbox_to_anchor": (-0.02, 1.07), "ncol": 3}
    axes.legend(frameon=False, fontsize=8, handletextpad=0.1, columnspacing=0.8, **above)
    axes.spines["left"].set_visible(False)
    plain_axes(axes)


def draw_detections(axes, checkpoint: str, image: str, title: str):
    result = YOLO(checkpoint).predict(image, imgsz=IMGSZ, conf=0.35, verbose=False, device="cpu")[0]
    axes.imshow(cv2.cvtColor(result.plot(line_width=2, font_size=12), cv2.COLOR_BGR2RGB))
    axes.set_axis_off()
    axes.set_title(title, fontsize=11)


def main(results: str, image: str, plain_pt: str, distilled_pt: str, output: str) -> None:
    folder = Path(results)
    runs = read_runs(folder / RUNS)
    curves = {run.key: read_curve(curve_file(folder, run)) for run in runs}
    teachers = read_context(folder)["teachers"]
    figure = plt.figure(figsize=(13, 7.6))
    grid = figure.add_gridspec(2, 6, wspace=0.25, hspace=0.22, left=0.05, right=0.99, top=0.955, bottom=0.065)
    for column, data in enumerate(DATA):
        axes = figure.add_subplot(grid[0, 2 * column : 2 * column + 2])
        draw_curves(axes, data, curves, teachers[data]["map50_95"])
        if not column:
            axes.set_ylabel("mAP50-95, mean and range")
    draw_pairs(figure.add_subplot(grid[1, :2]), runs)
    draw_detections(figure.add_subplot(grid[1, 2:4]), plain_pt, image, "plain student, BCCD seed 0")
    draw_detections(figure.add_subplot(grid[1, 4:]), distilled_pt, image, "distilled student, BCCD seed 0")
    figure.savefig(output, dpi=90)


if __name__ == "__main__":
    main(*sys.argv[1:])
