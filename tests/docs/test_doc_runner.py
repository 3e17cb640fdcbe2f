"""A page with a mistake fails, and the message names the page and the line."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from doc_names import problems
from doc_pages import Page, read_page
from doc_runner import BlockError, PageRunner, first_missing
from doc_shrink import shrink_command

WRONG = {
    "an option that no command has": (
        "```bash\nfgd-yolo export --model best.pt --presicion int8\n```",
        3,
        "--presicion",
    ),
    "a command that does not exist": ("```bash\nls\nfgd-yolo distil --teacher t.pt\n```", 4, "did you mean 'distill'"),
    "a precision that does not exist": (
        "```bash\npython deploy/export.py --model a.pt --precision int9\n```",
        3,
        "int9",
    ),
    "an unknown train argument": ("```bash\nfgd-yolo distill --student yolov8n lr=0.1\n```", 3, "lr"),
    "an unknown recipe": ("```bash\nfgd-yolo distill --student yolov8n \\\n --recipe fdg\n```", 3, "fdg"),
    "an unknown method": ("```bash\nfgd-yolo compare --student yolov8n --methods fgd plane\n```", 3, "plane"),
    "an unknown extra": ('<!-- check only: the network -->\n```bash\npip install -e ".[trian]"\n```', 4, "trian"),
    "a file that is not in the repository": ("```bash\ncat deploy/stream.yaml\n```", 3, "deploy/stream.yaml"),
    "a program that nobody has": ("```bash\nfgd_yolo predict\n```", 3, "unknown program"),
    "a wrong import": ("```python\nimport os\nfrom fgd_yolo import OnnxDetektor\n```", 4, "OnnxDetektor"),
    "a wrong attribute": (
        '```python\nfrom fgd_yolo import OnnxDetector\n\nprint(OnnxDetector("best.onnx")("image.jpg").boxen)\n```',
        5,
        "boxen",
    ),
    "a wrong argument": ("```python\nfrom fgd_yolo import distill\ndistill('a.pt', 'b.pt', epoch=3)\n```", 4, "epoch"),
    "a syntax error": ("```python\nprint(\n```", 3, "SyntaxError"),
    "an unknown option in a recipe": ('```yaml title="recipe.yaml"\nheads:\n  ration: 1\n```', 2, "ration"),
    "an unknown setting of streams": ('```yaml title="streams.yaml"\nstream: {gate: 0}\n```', 2, "stream"),
    "a block without a rule": ("```console\n$ ls\n```", 2, "no rule"),
    "a text block without a comment": ("```text\nhello\n```", 2, "<!-- output -->"),
    "a reason that is missing": ("<!-- check only -->\n```bash\nls\n```", 3, "REASON"),
    "an option in inline code": ("Use `--weights`.", 2, "--weights"),
    "an option of another command in inline code": ("Use `fgd-yolo predict --precision`.", 2, "--precision"),
    "a group's option in inline code": ("Set `features.fg_wait`.", 2, "features.fg_wait"),
    "a module in inline code": ("See `fgd_yolo/trainer.py`.", 2, "fgd_yolo/trainer.py"),
    "a name in inline code": ("See `fgd_yolo.config.FgdConfig`.", 2, "FgdConfig"),
    "a method in inline code": ("Call `FGDTrainer.configured(...)`.", 2, "configured"),
}
RIGHT = """\
Use `--model`, `features.fg_weight`, `docs/architecture.md`, `fgd-yolo export --precision int8` and
`FGDTrainer.with_teacher`.

<!-- check only: a real camera -->
```bash
FGD_YOLO_TOKEN=secret fgd-yolo stream --model best.onnx --source rtsp://192.0.2.7/stream2 > log.txt 2>&1 &
python3 -m venv .venv && .venv/bin/pip install -e ".[stream,web]"
```

```python
from fgd_yolo import FGDConfig

config = FGDConfig(heads={"ratio": 0.25})
print(config.heads.ratio)
```
"""


def page_of(folder: Path, text: str) -> Page:
    (folder / "page.md").write_text(f"First line.\n{text}\n")
    return read_page("page.md", folder)


@pytest.mark.parametrize("mistake", WRONG)
def test_a_mistake_is_found_with_page_and_line(mistake, tmp_path):
    text, line, word = WRONG[mistake]
    found = problems(page_of(tmp_path, text))
    assert len(found) == 1
    assert found[0].startswith(f"page.md, line {line}: ") and word in found[0]


def test_a_page_without_mistakes_has_no_problems(tmp_path):
    assert problems(page_of(tmp_path, RIGHT)) == []


@pytest.fixture
def runner(tmp_path):
    (tmp_path / "stand-ins").mkdir()
    (tmp_path / "stand-ins/a.txt").write_text("one\ntwo\nthree\n")
    runner = PageRunner(tmp_path / "stand-ins", tmp_path / "page")
    yield runner
    runner.close()


def run(runner: PageRunner, folder: Path, text: str) -> None:
    runner.run(page_of(folder, text))


def test_shell_blocks_share_folder_and_variables_and_their_output_is_compared(runner, tmp_path):
    blocks = "```bash\nmkdir deep\ncd deep\nNAME=a.txt\n```\n```bash\ncat ../$NAME | head -n 2 > b.txt\ncat b.txt\n```"
    run(runner, tmp_path, f"{blocks}\n<!-- output -->\n```text\none\nt...\n```")


def test_a_command_of_the_project_prints_into_the_shell(runner, tmp_path):
    lines = "fgd-yolo --help | grep distil | wc -l > n.txt\n.venv/bin/python deploy/export.py --help | head -n 1"
    run(runner, tmp_path, f"```bash\n{lines}\n```\n<!-- output -->\n```text\nExport a YOLO checkpoint to ONNX...\n```")
    assert int((runner.folder / "n.txt").read_text()) >= 1


FAILING = {
    "a shell command that fails": ("```bash\nls\nls nowhere\n```", 4, "exit code"),
    "a command of ours that fails": (
        "```bash\ncat a.txt\n\nfgd-yolo predict --model a.txt --source x\n```",
        5,
        "from fgd-yolo",
    ),
    "a failure inside a pipe": ("```bash\nfgd-yolo predict --model no.onnx | cat\n```", 3, "exit code 2 from fgd-yolo"),
    "a variable that is not set": ("```bash\ncat $FILE\n```", 3, "exit code"),
    "a script that is missing": ("```bash\npython tools/distil.py --help\n```", 3, "exit code 1"),
    "an installation": ("```bash\npip install -e .\n```", 3, "exit code 1 from pip"),
    "a Python error": ("```python\nx = 1\nprint(x.wrong)\n```", 4, "AttributeError"),
    "a line that is not printed": ("```bash\ncat a.txt\n```\n<!-- output -->\n```text\none\nthree\n```", 8, "three"),
    "output in the wrong order": ("```python\nprint(2, 1)\n```\n<!-- output -->\n```text\n1 2\n```", 7, "1 2"),
    "JSON with NaN": ('```json\n{"map": NaN}\n```', 3, "NaN is not JSON"),
}


@pytest.mark.parametrize("mistake", FAILING)
def test_a_block_that_fails_names_page_and_line(mistake, runner, tmp_path):
    text, line, words = FAILING[mistake]
    with pytest.raises(BlockError, match=rf"^page\.md, line {line}, \w+ block: .*{re.escape(words)}"):
        run(runner, tmp_path, text)


def test_expected_lines_follow_each_other_unless_dots_skip_some():
    assert first_missing("one\nthree", "one\ntwo\nthree") == (2, "three")
    assert first_missing("one\n...\nthree", "one\ntwo\nthree") is None
    assert first_missing("two", "one\ntwo\nthree") is None
    assert first_missing("t...e", "one\ntwo\nthree") is None
    assert first_missing("three\n...\none", "one\ntwo\nthree") == (3, "one")


def test_numbers_may_vary_where_the_page_says_so_and_words_may_not():
    printed = "best.onnx: 1.2 MB\n  mAP   71.54 in fp32: -3.44 points (+4 %)\n"
    assert first_missing("best.onnx: 10 MB\n  mAP 5 in fp16: 1.0 points (+12 %)", printed, numbers_vary=True) is None
    assert first_missing("best.onnx: 10 MB", printed) == (1, "best.onnx: 10 MB")
    assert first_missing("best.onnx: 10 kB", printed, numbers_vary=True) == (1, "best.onnx: 10 kB")


def test_values_of_a_page_become_small_and_others_stay():
    given = shlex.split("--teacher t.pt --data my.yaml --epochs 100 --imgsz=640 cos_lr=True workers=4")
    small = "--teacher t.pt --data my.yaml cos_lr=True --epochs 1 --imgsz 64 --workers 0 --pictures-every 0 --batch 8"
    assert shlex.join(shrink_command("distill", given)) == f"{small} --device cpu"
    assert shrink_command("distill", ["--resume", "runs/distill/yolov8n"]) == ["--resume", "runs/distill/yolov8n"]
    given = shlex.split("--imgsz 320 640 --device 0 --model a.onnx inference")
    assert shlex.join(shrink_command("predict", given)) == "--model a.onnx inference --imgsz 64 --device cpu"
    given = shlex.split("--methods fgd plain --seeds 0 1 2 --report runs/compare")
    assert shlex.join(shrink_command("compare", given)) == "--methods fgd plain --report runs/compare --seeds 1"
