"""Rewrite the tables of results in README.md and docs/ from the committed rows, and draw the figures beside them.

The gain to expect, which a run prints, is written to the package.

The table of the tasks is among them: what works for each is the result of tests, which `task_features` names. Those of
the families are made from what `make matrix` records.

    python docs/generators/results_tables.py          # rewrites the tables and draws the figures
    python docs/generators/results_tables.py --check  # fails if a table is not what the rows say

A table stands between the lines `<!-- table: NAME -->` and `<!-- end -->`; NAME is a key of `TABLES`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import comparison_tables
import expected_gain_rows
import experiment_tables
import families_table
import few_labels_tables
import other_run_tables
import other_setting_tables
import random_teachers_tables
import search_table
import task_features
from committed_rows import RESULTS, ROOT, markdown

PLACE = re.compile(r"(?<=<!-- table: )(?P<name>[\w-]+)(?P<start> -->\n).*?(?=<!-- end -->)", re.DOTALL)


def tasks() -> str:
    """What works for each task, by the tests that are named for it."""
    return markdown(["", *(f"`{task}`" for task in task_features.TASKS)], list(task_features.rows()))


def families() -> str:
    """What was distilled with each model YAML of Ultralytics."""
    head = ["model", "scale", "task", "parameters", "as student: strides", "as teacher: strides", "terms"]
    return markdown(head, list(families_table.families()), labels=len(head))


def family_pairs() -> str:
    """What was distilled between models of different families."""
    head = ["student", "teacher", "strides", "student alone", "teacher unused", "terms"]
    return markdown(head, list(families_table.family_pairs()), labels=len(head))


def families_refused() -> str:
    """The models that can be neither student nor teacher."""
    return markdown(["model", "head", "reason"], list(families_table.refused()), labels=3)


def few_labels() -> str:
    """Students that learnt from a part of the labels, with and without frames."""
    return markdown(few_labels_tables.HEAD, few_labels_tables.few_labels())


def few_labels_verdicts() -> str:
    """What the pairs with a tenth of the labels say, one line each."""
    return "\n".join(f"- {line}" for line in few_labels_tables.few_labels_verdicts())


def few_labels_choices() -> str:
    """What was tried on held-out train images before the students with frames were trained."""
    return markdown(few_labels_tables.HEAD_OF_CHOICES, few_labels_tables.choices())


def teacher_scores() -> str:
    """How often the teachers of a tenth of the labels are right on frames, by their score."""
    return markdown(few_labels_tables.HEAD_OF_SCORES, few_labels_tables.teacher_scores())


def no_labels() -> str:
    """Students that learnt from frames alone, beside plain training on the true labels of the frames."""
    rows = few_labels_tables.no_labels()
    return markdown(few_labels_tables.HEAD_WITHOUT_LABELS, rows) if rows else "No student has been trained yet."


TABLES: dict[str, Callable[[], str]] = {
    "comparison": comparison_tables.comparison,
    "random-teachers": random_teachers_tables.random_teachers,
    "strong-teachers": comparison_tables.accuracy_by_data,
    "targets": comparison_tables.targets,
    "gains": comparison_tables.gains,
    "pairs": comparison_tables.each_pair,
    "accuracy": comparison_tables.accuracy,
    "classes-bccd": partial(comparison_tables.classes, "bccd"),
    "other-settings": other_setting_tables.other_settings,
    "from-pretrained": other_setting_tables.from_pretrained,
    "other-targets": other_setting_tables.targets,
    "random-teachers-gains": random_teachers_tables.random_teachers_gains,
    "random-teachers-accuracy": random_teachers_tables.random_teachers_accuracy,
    "random-teachers-budgets": random_teachers_tables.random_teachers_budgets,
    "random-teachers-verdicts": random_teachers_tables.random_teachers_verdicts,
    "other-tasks": other_run_tables.other_tasks,
    "teacher-imgsz": other_run_tables.teacher_sizes,
    "other-detectors": other_run_tables.other_detectors,
    "train-step": other_run_tables.train_step,
    "terms": comparison_tables.terms,
    "bccd-30-epochs": experiment_tables.bccd_30_epochs,
    "bccd-100-epochs": experiment_tables.bccd_100_epochs,
    "steps": experiment_tables.steps,
    "choosing-bccd": partial(experiment_tables.trials, "choosing-bccd-900-steps", experiment_tables.CHOOSING_BCCD),
    "choosing-demo": partial(experiment_tables.trials, "choosing-demo-40-epochs", experiment_tables.CHOOSING_DEMO),
    "choosing-yolo26n": partial(experiment_tables.trials, "choosing-bccd-yolo26n", experiment_tables.CHOOSING_YOLO26N),
    "search": search_table.search,
    "few-labels": few_labels,
    "few-labels-verdicts": few_labels_verdicts,
    "few-labels-choices": few_labels_choices,
    "teacher-scores": teacher_scores,
    "no-labels": no_labels,
    "no-labels-verdict": few_labels_tables.no_labels_verdict,
    "expected-gains": expected_gain_rows.expected_gains,
    "tasks": tasks,
    "families": families,
    "family-pairs": family_pairs,
    "families-refused": families_refused,
    "families-versions": families_table.versions,
}


def pages() -> Iterator[Path]:
    """Return the pages that may hold tables."""
    yield ROOT / "README.md"
    yield from (page for page in sorted((ROOT / "docs").rglob("*.md")) if RESULTS not in page.parents)


def with_tables(text: str) -> str:
    """Return a page with every table replaced by what the rows say.

    Raises:
        KeyError: a table is not in `TABLES`.
    """
    return PLACE.sub(lambda place: f"{place['name']}{place['start']}\n{TABLES[place['name']]()}\n\n", text)


def stale_pages() -> list[Path]:
    """Return the pages that differ from the committed rows."""
    return [page for page in pages() if (text := page.read_text(encoding="utf-8")) != with_tables(text)]


def main(arguments: Sequence[str]) -> int:
    """Check the tables, or rewrite them and draw the figures; return the exit code."""
    stale = stale_pages()
    if "--check" in arguments:
        for page in stale:
            print(f"{page.relative_to(ROOT)} is stale: run python docs/generators/results_tables.py", file=sys.stderr)
        current = expected_gain_rows.is_current()
        if not current:
            print(f"{expected_gain_rows.FILE.name} is stale: run the same command", file=sys.stderr)
        return 1 if stale or not current else 0
    expected_gain_rows.FILE.write_text(expected_gain_rows.as_csv(), encoding="utf-8")
    for page in stale:
        page.write_text(with_tables(page.read_text(encoding="utf-8")), encoding="utf-8")
        print(f"{page.relative_to(ROOT)} rewritten")
    comparison_tables.draw_figures()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
