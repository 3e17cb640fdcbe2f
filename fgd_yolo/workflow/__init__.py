"""Distillation inside the host's trainer: the only rooms that know Ultralytics."""
