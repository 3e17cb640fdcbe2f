"""Run a student and its teacher on frames, and write where they disagree: page, numbers, and a start for labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fgd_yolo.console import display_path
from fgd_yolo.disagreement.compared_labels import ComparedModels, open_models
from fgd_yolo.disagreement.disagreement_page import draw_frame, page
from fgd_yolo.disagreement.frame_scores import KINDS, FrameScore, count_kinds, mean_agreement, rank, score_frame
from fgd_yolo.disagreement.frames_to_label import ANNOTATIONS, write_frames
from fgd_yolo.errors import FGDError, UsageError
from fgd_yolo.export.matching import SIMILAR_OVERLAP
from fgd_yolo.files import atomic_path, numbered_folder, partial_folder, remove_leftovers
from fgd_yolo.frames import gather_frames
from fgd_yolo.frames.frame_folder import origin
from fgd_yolo.labelling import label_numbers
from fgd_yolo.page_template import check_page_extra
from fgd_yolo.strict_json import to_json
from fgd_yolo.text import printable, printable_names

PAGE, NUMBERS = "index.html", "disagree.json"
PARENT = Path("runs/disagree")


@dataclass(frozen=True)
class DisagreeOptions:
    """Two models, frames, and what to write.

    Args:
        student: checkpoint or exported ONNX file.
        teacher: checkpoint.
        sources: frames, as `gather_frames` accepts them.
        top: number of frames on the page and in the data set.
        classes: names of the classes to compare; none for all that both models know.
        confident: score from which a model is confident of an object.
        imgsz: input size of checkpoints in pixels; None is that of their training.
        device: as Ultralytics' argument; None is the first GPU, or the CPU.
        output: folder to write, which must not exist; None is a new one in `PARENT`.
    """

    student: Path
    teacher: Path
    sources: tuple[str, ...]
    top: int = 50
    classes: tuple[str, ...] = ()
    confident: float = 0.5
    imgsz: int | None = None
    device: str | None = None
    output: Path | None = None


def disagree(options: DisagreeOptions) -> Path:
    """Compare two models on frames, write the files, print the numbers, and return the folder.

    Raises:
        UsageError: there is no frame, the models cannot be compared, or the output exists.
        FGDError: a model or all frames cannot be read, or a file cannot be written.
    """
    check_page_extra()
    if options.output is not None and options.output.exists():
        raise UsageError(f"--output {options.output} exists: give a new folder, or leave it out")
    files = gather_frames(options.sources).files
    settings = {
        "confident": options.confident,
        "classes": options.classes,
        "imgsz": options.imgsz,
        "device": options.device,
    }
    models = open_models(options.student, options.teacher, **settings)
    names = printable_names(models.names)
    labels = models.label(files)
    for side, found in zip(("teacher", "student"), labels, strict=True):
        print(f"{side}: {label_numbers(found, above=options.confident).text(names)}", flush=True)
    frames = rank([score_frame(*pair, options.confident) for pair in zip(*labels, strict=True)])
    folder = _write(options, models, frames)
    print(_conclusion(frames, folder, options.top), flush=True)
    return folder


def _write(options: DisagreeOptions, models: ComparedModels, frames: Sequence[FrameScore]) -> Path:
    """Write all files to a folder beside the output, and rename it."""
    target = options.output or PARENT / printable(options.student.stem)
    names = printable_names(models.names)
    shown = [frame for frame in frames[: options.top] if frame.disagreement > 0]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(target.parent)
        with partial_folder(target) as folder:
            labels = [frame.teacher for frame in shown]
            copies = write_frames(labels, folder, names, options.confident) if shown else []
            summary = summarize(options, models, frames)
            exported = {frame.teacher.image: copy.name for frame, copy in zip(shown, copies, strict=True)}
            rows = [_row(frame, exported) for frame in frames]
            contents = {
                NUMBERS: to_json({**summary, "by_frame": rows}, indent=2) + "\n",
                PAGE: page(summary, [draw_frame(frame, names) for frame in shown]),
            }
            for name, text in contents.items():
                with atomic_path(folder / name) as path:
                    path.write_text(text, encoding="utf-8")
            return folder.replace(numbered_folder(target))
    except OSError as error:
        raise FGDError(f"cannot write {target}: {error.strerror or error}; choose another with --output") from error


def summarize(options: DisagreeOptions, models: ComparedModels, frames: Sequence[FrameScore]) -> dict[str, Any]:
    """Return the numbers of all frames, as the page and the JSON file show them."""
    names = printable_names(models.names)
    by_class = {names[number]: counts for number, counts in count_kinds(frames).items()}
    return {
        "student": printable(options.student.name),
        "teacher": printable(options.teacher.name),
        "task": models.student.task.name,
        "classes": [names[number] for number in models.classes],
        "confident": options.confident,
        "iou": SIMILAR_OVERLAP,
        "frames": len(frames),
        "frames_with_objects": sum(bool(frame.objects) for frame in frames),
        "agreement": mean_agreement(frames),
        **{kind: sum(counts[kind] for counts in by_class.values()) for kind in KINDS},
        "by_class": by_class,
    }


def _row(frame: FrameScore, exported: dict[Path, str]) -> dict[str, Any]:
    return {
        "frame": printable(origin(frame.teacher.image)),
        "image": exported.get(frame.teacher.image),
        "disagreement": round(frame.disagreement, 4),
        "agreement": frame.agreement,
        **{kind: frame.count(kind) for kind in KINDS},
    }


def _conclusion(frames: Sequence[FrameScore], folder: Path, top: int) -> str:
    """Return the last line: the mean agreement, and what to do next."""
    place, agreement = display_path(folder), mean_agreement(frames)
    if agreement is None:
        return f"no model is confident of any object on {len(frames)} frames; {place}/{PAGE} says so"
    differing = min(top, sum(frame.disagreement > 0 for frame in frames))
    told = f"agreement with the teacher {agreement:.2f} on {len(frames)} frames"
    if not differing:
        return f"{told}; {place}/{PAGE} has nothing to show"
    return (
        f"{told}; next: look at {place}/{PAGE}, correct the labels of its {differing} frames "
        f"({place}/{ANNOTATIONS}), and add {place}/images to the train images of your data"
    )
