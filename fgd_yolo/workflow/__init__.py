"""A distillation run from two model names to an exported student, and the figures of a finished run.

- `distill`: starts a run, or resumes one, and prints its result
- `stages`: its stages after the plan: teacher, student, measuring and export
- `plan`: checks and resolves options, models and data before anything is written
- `resolve`: finds the checkpoint or the architecture that a model name stands for
- `method_choice`: the method of a run whose user names none: the default, or what of it these models can teach
- `unlabeled`: the frames of a run, and what is known without labels
- `training_stages`: fine-tuning of the teacher, with its cache, and training of the student; both can be resumed
- `announcements`: what rank 0 tells the other ranks of a run under torchrun, and the files that it sends them
- `followers`: the other ranks, which train with rank 0
- `rank_facts`: what all ranks must have in common: versions, options and models
- `elastic_restart`: finds the run that torchrun has started again after a failure
- `time_estimate`: estimates how long the stages take
- `teacher_agreement`: how far a student agrees with its teachers on frames without labels
- `closing_table`: measures teacher and student, and prints them beside the same run without a teacher, if there is one
- `conclusion`: what the numbers of a run mean, and which commands help next
- `run_folder`: files of a run folder: options, inputs, results
- `visualize`: draws the attention of teacher and student
"""
