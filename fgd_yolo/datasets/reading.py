"""Read the YAML of a data set safely.

Reading a data YAML can execute code: while images are missing, every part of Ultralytics that reads the file runs or
fetches what is under `download`. Also, entries of an image list can be relative to the working folder. Therefore data
sets are read here with Ultralytics' own functions, and trainers, validators and exporters get a YAML with absolute
paths and without `download`.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

import yaml
from ultralytics.data.utils import check_det_dataset, convert_ndjson_to_yolo_if_needed, find_dataset_yaml
from ultralytics.utils import ROOT, YAML
from ultralytics.utils.checks import check_file

from fgd_yolo.cache import cache_root
from fgd_yolo.console import print_status
from fgd_yolo.datasets.dataset import SPLITS, YAML_SUFFIXES, Dataset
from fgd_yolo.datasets.image_places import listed_places
from fgd_yolo.demo import demo_dataset
from fgd_yolo.errors import FGDError, one_line
from fgd_yolo.safe_loading import safe_loading, user_settings
from fgd_yolo.text import printable, printable_names
from fgd_yolo.ultralytics import quiet_ultralytics

_ADDRESS = re.compile(r"\w[\w+.-]+:/", re.IGNORECASE)  # at least two letters: C:/ is a drive
_HOW_TO_ALLOW = "--allow-download (allow_download=True)"


def read_dataset(data: Any, *, split: str = "", allow_download: bool = False, recorded: bool = False) -> Dataset:
    """Read the YAML of a data set. A script or address that it needs is printed, and run or fetched only if allowed.

    Args:
        data: data YAML, a folder or an archive with one, a name known to Ultralytics (`coco8.yaml`), or an address.
        split: split whose images must exist; empty means `val`, as in Ultralytics.
        allow_download: run the `download` script of the YAML if images are missing, or fetch an address. Ultralytics'
            own data sets need no permission.
        recorded: whether the data is named by a run folder or a checkpoint, not by the user; nothing is run, downloaded
            or unpacked then.

    Raises:
        FGDError: the data set cannot be used, or needs a download that is not allowed; the script or address has been
            printed.
    """
    with safe_loading():
        try:
            file = _find(data, allow_download, recorded)
            return _read(file, split, allow_download, recorded)
        except FGDError:
            raise
        except Exception as error:  # Ultralytics raises many types here, from SyntaxError to RuntimeError
            raise FGDError(f"data {data} cannot be used: {one_line(error)}") from error


def demo_data(task: str = "detect") -> str:
    """Return the data YAML of the built-in demo scenes for a task, which are rendered on first use."""
    print_status("no data set given: using the built-in demo scenes, rendered on first use")
    return str(demo_dataset(cache_root(), task=task))


def is_official(file: Path) -> bool:
    """Return whether the content of a data YAML is exactly that of one shipped with Ultralytics, in any folder."""
    shipped = ROOT / "cfg" / "datasets" / file.name
    return shipped.is_file() and shipped.read_bytes() == file.read_bytes()


def _find(data: Any, allow_download: bool, recorded: bool) -> Path:
    """Find the YAML or archive of a data set as Ultralytics does."""
    if not isinstance(data, (str, Path)) or not str(data).strip():
        raise FGDError(f"{str(data)[:60]!r} is not a data YAML: pass data= (--data) with one")
    name = str(data)
    if _ADDRESS.match(name.strip()) or name.lower().endswith(".ndjson"):
        name = str(_fetch(name.strip(), allow_download, recorded))
    if not Path(name).exists() and Path(name).suffix.lower() not in YAML_SUFFIXES:  # coco8 for coco8.yaml
        files = [f"{name}{suffix}" for suffix in sorted(YAML_SUFFIXES)]
        name = next((file for file in files if check_file(file, hard=False)), name)
    file = Path(check_file(name)).absolute()
    return find_dataset_yaml(file) if file.is_dir() else file


def _fetch(address: str, allow_download: bool, recorded: bool) -> str | Path:
    """Let Ultralytics download a YAML, an archive, or the images that an .ndjson file names."""
    if recorded:
        raise FGDError(f"data {printable(address)} is not on this disk and is not downloaded here: give a data YAML")
    print(f"data: {printable(address)} must be downloaded", flush=True)
    if not allow_download:
        raise FGDError(f"data {printable(address)} is downloaded only with {_HOW_TO_ALLOW}: add it, or give a file")
    with user_settings():
        return check_file(convert_ndjson_to_yolo_if_needed(address))


def _read(file: Path, split: str, allow_download: bool, recorded: bool) -> Dataset:
    if file.suffix.lower() not in YAML_SUFFIXES:
        return _unpack(file, recorded)
    description = YAML.load(file)
    moved = _moved_lists(file, description)
    if moved:
        return _read_with_lists(file, {**description, **moved}, split)
    split = split if description.get(split) else ""  # a missing split is reported where it is needed
    try:
        with quiet_ultralytics():
            return Dataset(file, _info(file, autodownload=False, split=split), file)
    except FileNotFoundError as missing:
        script = description.get("download")
        if recorded or not script:
            path = re.search(r"missing path '(.*)'", str(missing))
            reason = f"{path[1]} does not exist" if path else one_line(missing)
            not_run = ", and its download script is not run here" if script else ""
            raise FGDError(f"the images of {file} are missing{not_run}: {reason}") from missing
        _require_permission(file, str(script), allow_download)
    with user_settings():
        return Dataset(file, _info(file, split=split), file)


def _info(file: Path, **options: Any) -> dict[str, Any]:
    """Return what Ultralytics reads from a data YAML or archive, with class names that are safe to print."""
    info = check_det_dataset(str(file), **options)
    return {**info, "names": printable_names(info["names"])}


def _moved_lists(file: Path, description: dict[str, Any]) -> dict[str, list[str]]:
    """Return the splits of a copy that was moved with its run folder whose image lists have new paths."""
    moved = {}
    for split in SPLITS:
        places = listed_places(description.get(split))
        beside = [file.parent / file.stem / split / Path(place).name for place in places]
        present = [
            str(list_file) if list_file.is_file() and not Path(place).exists() else place
            for place, list_file in zip(places, beside, strict=True)
        ]
        if present != places:
            moved[split] = present
    return moved


def _read_with_lists(file: Path, description: dict[str, Any], split: str) -> Dataset:
    with tempfile.TemporaryDirectory(prefix="fgd_yolo-data-") as folder:
        changed = Path(folder) / file.name
        description = {key: value for key, value in description.items() if key != "download"}
        changed.write_text(yaml.safe_dump(description), encoding="utf-8")
        return Dataset(file, _read(changed, split, allow_download=False, recorded=True).info, file)


def _require_permission(file: Path, script: str, allow_download: bool) -> None:
    """Print the download script of a YAML, and raise unless it is allowed or Ultralytics' own."""
    if is_official(file):
        print(f"data: {file.name} is one of Ultralytics' own and not on this disk yet: downloading it", flush=True)
        return
    print(f"data: the images of {file.name} are missing; its download script is:", flush=True)
    print("".join(f"    {printable(line.expandtabs(4))}\n" for line in script.splitlines()), end="", flush=True)
    if not allow_download:
        raise FGDError(
            f"the images of {file} are missing: put them there, or read the script printed above and allow it with "
            f"{_HOW_TO_ALLOW}"
        )


def _unpack(archive: Path, recorded: bool) -> Dataset:
    """Let Ultralytics unpack an archive into its datasets folder; the script of a YAML in it is not run."""
    if recorded:
        raise FGDError(f"data {archive} is not a data YAML, and nothing is unpacked here: give a data YAML")
    with user_settings():
        return Dataset(archive, _info(archive, autodownload=False), archive)
