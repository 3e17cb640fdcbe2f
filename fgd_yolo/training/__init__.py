"""Training: Ultralytics' trainers with a teacher, and the loss for the training loops of other detectors.

Modules import only modules above them in this list:

- `attachment`: what is attached to a live model, and detached while it is copied
- `speed`: bfloat16, a second thread on a CPU, and a CPU that does not wait for its GPU
- `heads`: what heads put out, as the terms compare it
- `teachers`: loads the teachers, freezes them and chooses what each teaches
- `unlabeled_frames`: what the teachers find on frames, in the place of labels
- `step`: one training step, from the detection loss to the appended terms
- `distillation_loss`: `DistillationLoss`, for any detector with a pyramid; imports no Ultralytics
- `preflight`: checks before the first epoch. `val_loaders`: the val images, as student and teachers see them
- `expected_gain`: what a run can be expected to gain. `student_record`: which record of the task table a student has
- `checkpoints`: checkpoints and their side file, written so that a resumable pair exists at every moment
- `run_lock`: the lock on the run folder. `distributed_trainer`: what training over several processes needs
- `attention_plots`: attention plots during a training
- `trainer`: `FGDTrainer`, Ultralytics' trainer with the methods that a distillation overrides
- `step_times`: times a few steps of a training before it starts
"""
