"""From two model names to a finished run, and a look at a finished run.

- `distill`: the stages of a run, in order; also resumes one
- `plan`: checks and resolves options, models and data before anything is written
- `resolve`: from a model name to a checkpoint or an architecture
- `training_stages`: the teacher's fine-tuning and its cache, the student's training; each can be resumed
- `time_estimate`: how long the teacher's fine-tuning will take
- `closing_table`: measures teacher and student, and prints them beside the same run without a teacher, if there is one
- `run_folder`: files of a run folder: options, inputs, results
- `visualize`: figures of what teacher and student attend to
"""
