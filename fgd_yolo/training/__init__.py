"""Training: Ultralytics' trainers with a teacher, and the loss for the training loops of other detectors.

- `trainer.py`: `FGDTrainer`, Ultralytics' trainer with the methods that a distillation overrides
- `student_record.py`: which record of the task table a student has
- `distiller.py`: `Distiller.step`, one training step from the detection loss to the appended terms
- `loss_hook.py`: attaches the step to a live model and detaches it
- `gradient_ratio.py`: the strength of the terms relative to the detection loss, and the gain that controls it
- `distillation_loss.py`: `DistillationLoss`, for any detector with a pyramid; imports no Ultralytics
- `load_teachers.py`: loads the teachers and chooses what each teaches
- `teacher.py`: a teacher, frozen and cut at its neck
- `image_sizes.py`: teachers that see larger images than their student: the student's batch is shrunk from theirs
- `inherit.py`: the inheriting strategy, a student that starts from its teacher's neck and head
- `head_outputs.py`: outputs of the heads, paired by branch and level
- `coarser_outputs.py`: outputs of teachers that see larger images, on the student's cells
- `assignments.py`: which anchors the student's loss assigns to labelled boxes
- `crossed_head.py`: the student's maps in the teacher's frozen head
- `head_methods.py`: what the methods that compare heads need of both heads
- `encoder_outputs.py`: what RT-DETR's encoder predicts for each cell
- `other_tasks.py`: a teacher of another task than its student: what it teaches, how it is measured
- `validation_by_name.py`: the accuracy of a teacher with other classes than the data
- `class_selection.py`: which classes are selected and taught
- `preflight.py`: checks before the first epoch
- `first_batch.py`: checks on the first batch with boxes
- `checkpoints.py`: checkpoints and their side file, written so that a resumable pair exists at every moment
- `run_lock.py`: the lock on the run folder
- `attention_plots.py`: attention plots during a training
"""
