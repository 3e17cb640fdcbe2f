"""Gradient of each term of a distillation against that of the detection loss.

The student is not trained: every figure is a median over the first batches of Ultralytics' own loader, with the weights
that the student has. It takes them from the loss of a real trainer, at full strength, so the sum of the terms has the
gradient ratio of the options. A head with two branches (one2many and one2one) has a column for the parameters of each:
the ratio is held at the neck, which the gradients of the second branch do not reach.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from torch import Tensor, nn

from benchmarks.train_arms import OPTIONS, set_up
from fgd_yolo import FGDConfig, FGDTrainer
from fgd_yolo.config.method_options import DEFAULT_METHOD
from fgd_yolo.console import Parser, guarded_command, positive_int
from fgd_yolo.neck import NeckHook
from fgd_yolo.training.step.gradient_ratio import gradient_square
from fgd_yolo.ultralytics import quiet_ultralytics

NECK, DETECTION, TERMS = "neck", "detection loss", "all terms"
BRANCHES = {"one2many": ("cv2.", "cv3."), "one2one": ("one2one_cv2.", "one2one_cv3.")}
"""Parameters of each branch of a head by the beginnings of their names."""
EXAMPLES = (
    ("--teacher yolov8s.pt --student yolov8n.yaml --data data.yaml", "with random weights"),
    ("--teacher yolov8s.pt --student student.pt --data data.yaml", "a trained student"),
    ("--teacher yolo26s.pt --student yolo26n.yaml --data data.yaml --method heads", "another method"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the measurement on the CPU; return the exit code."""

    def run(arguments: list[str]) -> None:
        args = _parser().parse_args(arguments)
        with TemporaryDirectory(prefix="fgd_yolo-gradients-") as folder, quiet_ultralytics():
            trainer = _trainer(args, folder)
            table = markdown(measure(trainer, args.batches))
        print(table)

    return guarded_command(run, argv)


def _parser() -> Parser:
    parser = Parser(
        prog="python -m benchmarks.term_gradients",
        description="Compare the gradient of each term of a distillation with that of the detection loss.",
        examples=EXAMPLES,
    )
    add = parser.add_argument
    add("--teacher", required=True, metavar="FILE", help="checkpoint that knows the classes of the data")
    add("--student", required=True, metavar="MODEL", help="checkpoint or architecture")
    add("--data", required=True, metavar="YAML", help="data set")
    add(
        "--method", default=DEFAULT_METHOD, metavar="METHOD", help=f"methods, joined with + or alone ({DEFAULT_METHOD})"
    )
    add("--imgsz", type=positive_int, default=640, metavar="N", help="image size (640)")
    add("--batch", type=positive_int, default=16, metavar="N", help="images (16)")
    add("--batches", type=positive_int, default=8, metavar="N", help="batches that are measured (8)")
    return parser


def _trainer(args, folder: str) -> FGDTrainer:
    """Return a trainer that is ready for its first batch."""
    config = FGDConfig.from_dict({"method": args.method, **OPTIONS})
    settings = {"model": args.student, "data": args.data, "imgsz": args.imgsz, "batch": args.batch}
    rest = {"device": "cpu", "workers": 0, "plots": False, "verbose": False, "project": folder, "name": "run"}
    trainer = FGDTrainer.with_teacher(Path(args.teacher), config)(overrides={**settings, **rest})
    set_up(trainer)
    return trainer


def measure(trainer: FGDTrainer, batches: int) -> dict[str, dict[str, float]]:
    """Return the medians over batches of each gradient's norm, by the place and the name of the loss.

    Convention:
        The norm of the detection loss is what it is; those of the terms, and of their sum, are fractions of it.

    Args:
        trainer: ready for its first batch.
        batches: number of batches, at most those of an epoch.
    """
    hook, found = NeckHook(trainer.model), []
    for batch in islice(trainer.train_loader, batches):
        loss, _ = trainer.model(trainer.preprocess_batch(batch))
        own = len(loss) - len(trainer.distiller.names)
        losses = {DETECTION: loss[:own].sum(), **dict(zip(trainer.distiller.names, loss[own:], strict=True))}
        losses[TERMS] = loss[own:].sum()
        places = {NECK: hook.pop(), **_branches(trainer.model.model[-1])}
        found.append({place: _fractions(losses, inputs) for place, inputs in places.items()})
    hook.remove()
    return {
        place: {name: median(one[place][name] for one in found) for name in names} for place, names in found[0].items()
    }


def _branches(head: nn.Module) -> dict[str, list[Tensor]]:
    """Return the parameters of each branch of a head that has two; empty for other heads."""
    if not hasattr(head, "one2one_cv2"):
        return {}
    trained = {name: value for name, value in head.named_parameters() if value.requires_grad}
    return {
        branch: [value for name, value in trained.items() if name.startswith(beginnings)]
        for branch, beginnings in BRANCHES.items()
    }


def _fractions(losses: Mapping[str, Tensor], inputs: list[Tensor]) -> dict[str, float]:
    norms = {name: gradient_norm(loss, inputs) for name, loss in losses.items()}
    return {name: norm if name == DETECTION else norm / norms[DETECTION] for name, norm in norms.items()}


def gradient_norm(loss: Tensor, inputs: list[Tensor]) -> float:
    """Return the L2 norm of a loss's gradient over all inputs together; 0 for those that it does not depend on."""
    return gradient_square(loss, inputs).sqrt().item() if loss.requires_grad else 0.0


def markdown(norms: Mapping[str, Mapping[str, float]]) -> str:
    """Format the norms as a Markdown table with a column for each place."""
    head = ["gradient norm of", *(f"at the {place}" if place == NECK else f"in {place}" for place in norms)]
    rows = [head, ["---", *["---:"] * len(norms)]]
    rows += [[name, *(f"{own[name]:.3g}" for own in norms.values())] for name in norms[NECK]]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    sys.exit(main())
