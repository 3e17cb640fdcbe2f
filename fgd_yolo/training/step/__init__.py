"""One training step, from Ultralytics' loss to the appended terms of the distillation.

- `distiller.py`: `Distiller.step`
- `loss_hook.py`: attaches the step to a live model and detaches it
- `teacher_passes.py`: what the teachers make of a batch, beside the student
- `crossed_head.py`: the student's maps in the teacher's frozen head
- `frame_loss.py`: Ultralytics' own loss of a batch with frames
- `term_group.py`: the terms of the features, and those of the heads
- `gradient_ratio.py`: the strength of the terms relative to the detection loss, and the gain that controls it
- `finite_gate.py`, `dropped_batches.py`: terms that are not finite are left out and counted
- `first_batch.py`: checks on the first batch with boxes
"""
