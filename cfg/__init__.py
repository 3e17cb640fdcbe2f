"""Recipes: YAML files that ship in the wheel as `fgd_yolo.cfg`."""
