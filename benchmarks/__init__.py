"""Benchmarks of fgd_yolo, run from the root of a clone in which the package is installed (`pip install -e ".[test]"`).

    python benchmarks/train.py         a training step: plain, with Ultralytics' distillation, and with this package
    python -m benchmarks.loss          the FGD loss against a plain implementation: time and memory
    python -m benchmarks.method_cost   the losses of the methods that compare features, and their parts
    python -m benchmarks.streams       the stream pipeline against bare threads and Ultralytics, and under overload

The inference benchmark is a command of the package: `fgd-yolo benchmark inference`.

- `train`: the first command; `train_arms`: the steps that it compares; `train_table`: its tables.
- `loss`: the second command; `plain_loss`: the implementation that it compares with.
- `method_cost`: the third command.
- `streams`: the fourth command, with its tables; `stream_speed`: frames per second of a file, CPU time per frame of a
  camera; `overload`: more cameras than the detector can process. Cameras are simulated by `tests.cameras`.
"""
