"""The command line: `main` passes the arguments of `fgd-yolo COMMAND` to the command's module, one row of `COMMANDS`.

- `assignment_parser`: options as `name=value`; `distillation_options`: options from the models of `config`
- `recipes_command`: needs nothing but the recipes; also a script in `tools/`
- `distill_command`, `compare_command`, `disagree_command`, `visualize_command`, `benchmark_command`: need PyTorch; also
  scripts in `tools/`
- `export_command`: needs PyTorch; `predict_command`, `stream_command`: do not; also scripts in `deploy/`
"""
