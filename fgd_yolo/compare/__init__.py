"""The paired comparison: the same training with and without a teacher, over seeds, and what the difference is worth."""
