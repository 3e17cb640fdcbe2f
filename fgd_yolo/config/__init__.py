"""Options of a distillation and recipes, checked when they are created; imports no torch.

- `method_options`: the distillation methods and the options of each, `features.*` and `heads.*`
- `fgd_config`: `FGDConfig`, all options of a distillation in groups
- `recipe`: a distillation together with models, data and train arguments, as a YAML file
"""

from fgd_yolo.config.fgd_config import FGDConfig
from fgd_yolo.config.method_options import (
    DEFAULT_METHOD,
    METHOD_OPTIONS,
    PLAIN,
    FeatureOptions,
    HeadOptions,
    method_names,
    part_of_default,
)
from fgd_yolo.config.recipe import AUTO, Recipe, load_recipe, model_names

__all__ = [
    "AUTO",
    "DEFAULT_METHOD",
    "METHOD_OPTIONS",
    "PLAIN",
    "FGDConfig",
    "FeatureOptions",
    "HeadOptions",
    "Recipe",
    "load_recipe",
    "method_names",
    "model_names",
    "part_of_default",
]
