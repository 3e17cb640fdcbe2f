"""Training: Ultralytics' detection trainer with a teacher.

- `trainer.py`: `FGDTrainer`, what it overrides in Ultralytics' trainer
- `distiller.py`: `Distiller.step`, one training step from the detection loss to the appended terms
- `loss_hook.py`: attaches the step to a live model and detaches it
- `gradient_ratio.py`: how strong the terms are compared with the detection loss, and the gain that controls it
- `teacher.py`: the teacher, frozen and cut at its neck
- `head_outputs.py`: outputs of two detection heads, paired by branch and level
- `preflight.py`: what is checked before the first epoch
- `first_batch.py`: what is checked on the first batch with boxes
- `checkpoints.py`: checkpoints and their side file, written so that a pair that resumes exists at every moment
- `run_lock.py`: the lock on the run folder
- `attention_plots.py`: attention plots during the training
"""
