"""Compare distillation methods over seeds and data sets, with paired statistics and a report.

- `options.py`: the options of a comparison, and methods such as `fgd:features.ratio=0.2`; imports no torch
- `comparison.py`: the comparison from options to report
- `jobs.py`: the runs to make, planned from the options and written as files for the worker processes
- `finished_runs.py`: jobs that measure runs trained elsewhere
- `holdout.py`: a data set whose val images are held out from the train images
- `labelled_part.py`: a data set of which only a part of the train images keeps its labels
- `pseudo_labels.py`: a data set whose images without labels have those of the teacher
- `run_process.py`: one worker process per run: the pool that starts them, and the worker itself
- `training_record.py`: the record of a training: digests of its batches and initial weights, its epoch times
- `object_sizes.py`: validation with average precision by object size
- `results.py`: the files of a comparison: `runs.csv`, `curves/`, `compare.json`
- `comparability.py`: the check that runs differ in nothing but the method
- `paired_differences.py`: paired differences between methods, their confidence intervals, the verdicts
- `tables.py`, `plots.py`, `report.py`: the report as Markdown and HTML
"""
