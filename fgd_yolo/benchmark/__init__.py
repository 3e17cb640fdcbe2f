"""Measurements and pictures of what distillation does."""
