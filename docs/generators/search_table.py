"""The table of the search for a better default, on held-out train images with strong teachers."""

from __future__ import annotations

from committed_rows import accuracy_cells, markdown, rows_of

SEARCH = {"search-bccd": "BCCD", "search-raccoon": "raccoons"}
"""Name of the data by the folder of a search on held-out train images."""
_FEATURES, _MAPS = "FGD's features beside the heads", "other maps beside the heads"
_TERMS, _OWN, _HEADS = "other terms, or features at the start", "Ultralytics' own", "the heads alone"
TRIALS = {
    "fgd+heads": (_FEATURES, "`features.ratio` 0.1 until 0.6 of the run (the default then)"),
    "fgd+heads:features.ratio=0.3": (_FEATURES, "0.3 until 0.6"),
    "fgd+heads:features.ratio=0.3,schedule.decay_start=0.6,schedule.decay_end=1": (_FEATURES, "0.3 until the end"),
    "score_l2+heads": (_MAPS, "score-weighted L2, throughout"),
    "score_l2+heads:schedule.decay_start=0.3,schedule.decay_end=0.6": (_MAPS, "score-weighted L2, until 0.6"),
    "heads+crosshead": (_MAPS, "cross-head imitation, throughout"),
    "heads+bckd_box:heads.box_weight=0": (_TERMS, "BCKD's boxes for those of the heads, no features"),
    "heads+dfine": (_TERMS, "D-FINE's decoupled DFL beside the heads, no features (**the default**)"),
    "fgd+heads:schedule.decay_start=0,schedule.decay_end=0.2": (_TERMS, "the default's features then, until 0.2"),
    "ultralytics:dis=0.35": (_OWN, "`dis` 0.35"),
    "ultralytics:dis=0.7": (_OWN, "`dis` 0.7"),
    "ultralytics:dis=1.5": (_OWN, "`dis` 1.5"),
    "heads": (_HEADS, "`heads.ratio` 0.5"),
    "heads:heads.ratio=0.25": (_HEADS, "0.25"),
    "heads:heads.ratio=1": (_HEADS, "1"),
}
"""Family of each method of the search, and its name in it."""


def search() -> str:
    """The accuracy of all trials on held-out train images; what was not run is empty."""
    found = [{run.method: run.map50_95 for run in rows_of(f"strong-teachers/{folder}")} for folder in SEARCH]
    assert all(own.keys() <= TRIALS.keys() for own in found), "name all methods"
    best = [max(own.values()) if len(own) == len(TRIALS) else None for own in found]  # not before all are there
    columns = [
        accuracy_cells([own.get(method) for method in TRIALS], highest)
        for own, highest in zip(found, best, strict=True)
    ]
    rows = [[*trial, *cells] for trial, *cells in zip(TRIALS.values(), *columns, strict=True)]
    return markdown(["family", "trial", *SEARCH.values()], rows, labels=2)
