"""The door to data sets: Ultralytics gets a YAML with absolute paths in which nothing is left to run or to fetch.

A data YAML of Ultralytics is a program: what stands under `download` is run, or fetched and unpacked, when its images
are missing, by every part of Ultralytics that reads the file again. And a list of images in a text file means something
else in another working folder. So a data set is read here, once, by Ultralytics' own functions, and a copy of what was
found is all that trainers, validators and exporters see.
"""

from __future__ import annotations

import random
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml
from ultralytics.data.base import BaseDataset
from ultralytics.data.utils import check_det_dataset, convert_ndjson_to_yolo_if_needed, find_dataset_yaml
from ultralytics.utils import ROOT, YAML
from ultralytics.utils.checks import check_file

from fgd_yolo.errors import FGDError, one_line
from fgd_yolo.files import atomic_path
from fgd_yolo.safe_loading import as_the_user_set_it, safe_loading
from fgd_yolo.text import printable, printable_names
from fgd_yolo.ultralytics import quiet_ultralytics

FOLDER = "data"
"""Where a run folder keeps its copy."""
SPLITS = ("train", "val", "test", "minival")
# Everything else that a data YAML may hold is either text for people or `download`.
_KEPT = ("names", "nc", "channels", "kpt_shape", "kpt_names", "kpt_oks_sigmas", "flip_idx", "masks_dir")
_ADDRESS = re.compile(r"\w[\w+.-]+:/", re.IGNORECASE)  # two letters at least: C:/ is a drive
_YAML = {".yaml", ".yml"}
_HOW_TO_ALLOW = "--allow-download (allow_download=True)"


@dataclass(frozen=True)
class DataYaml:
    """A data YAML as Ultralytics read it.

    Args:
        file: that it was read from.
        facts: of Ultralytics' check_det_dataset: absolute folders and list files by split, names, channels and more.
    """

    file: Path
    facts: dict[str, Any]

    @property
    def is_yaml(self) -> bool:
        """Whether it was read from a YAML, not from an archive."""
        return self.file.suffix.lower() in _YAML

    def images(self, split: str) -> list[Path]:
        """Return the image files of a split, absolute, in Ultralytics' order.

        Raises:
            FGDError: the data set has no such split, or no image in it.
        """
        places = _entries(self.facts.get(split))
        if not places:
            raise FGDError(f"data {self.file} names no {split} images")
        missing = [place for place in places if not Path(place).exists()]
        if missing:
            raise FGDError(f"the {split} images of {self.file.name} are missing: there is no {missing[0]}")
        return _image_files(places)

    def kept_in(self, folder: Path) -> DataYaml:
        """Write a copy that holds no script and no address and means the same in every working folder.

        Lists of images become lists of absolute paths in `STEM/SPLIT` beside it, under their own names, by which
        Ultralytics knows COCO; folders stay folders. A list in which no image is found stays as it is: the data may
        be of use without that split, and whoever needs it says what is wrong.

        Raises:
            FGDError: the folder cannot be written.
        """
        splits = {}
        for split in SPLITS:
            places = _entries(self.facts.get(split))
            lists = [place for place in places if Path(place).is_file()]
            images = _images_in_lists(lists)
            if images:
                name = Path(lists[0]).name if len(lists) == 1 else f"{split}.txt"
                file = folder.absolute() / self.file.stem / split / name
                with atomic_path(file) as path:
                    path.write_text("".join(f"{image}\n" for image in images), encoding="utf-8")
                places = [place for place in places if place not in lists] + [str(file)]
            splits[split] = places[0] if len(places) == 1 else places
        kept = DataYaml(folder.absolute() / f"{self.file.stem}.yaml", {**self.facts, **splits})
        with atomic_path(kept.file) as path:
            path.write_text(yaml.safe_dump(kept._plain, sort_keys=False), encoding="utf-8")
        return kept

    def plain_in(self, folder: Path) -> DataYaml:
        """Return it as it is where its file holds nothing but what a copy would; else a copy in the folder."""
        lists = [place for split in SPLITS for place in _entries(self.facts.get(split)) if Path(place).is_file()]
        relative = any(not Path(line).is_absolute() for place in lists for line in _listed(place))
        if self.is_yaml and not relative and YAML.load(self.file) == self._plain:
            return self
        return self.kept_in(folder)

    @property
    def _plain(self) -> dict[str, Any]:
        """What a copy holds."""
        needed = {"train": self.facts.get("train"), "val": self.facts.get("val")}
        places = {**needed, **{split: self.facts[split] for split in SPLITS if self.facts.get(split)}}
        kept = {key: self.facts[key] for key in _KEPT if self.facts.get(key) is not None}
        return {"path": str(Path(self.facts["path"]).absolute()), **places, **kept}


def read_dataset(data: Any, *, split: str = "", allow_download: bool = False, recorded: bool = False) -> DataYaml:
    """Read a data set on this disk; what would have to be run or fetched for it is shown, and done only if allowed.

    Args:
        data: data YAML, a folder or an archive with one, a name of Ultralytics (`coco8.yaml`), or an address.
        split: whose images must be there; without one `val`, as in Ultralytics.
        allow_download: run the `download` of the YAML where the images are missing, and fetch an address. Data sets
            that are Ultralytics' own need no permission.
        recorded: a run folder or a checkpoint names it, not the user: nothing is run, fetched or unpacked.

    Raises:
        FGDError: it cannot be used, or would need what is not allowed; the script or address has been printed.
    """
    with safe_loading():
        try:
            file = _find(data, allow_download, recorded)
            return _read(file, split, allow_download, recorded)
        except FGDError:
            raise
        except Exception as error:  # Ultralytics raises anything from SyntaxError to RuntimeError here
            raise FGDError(f"data {data} cannot be used: {one_line(error)}") from error


def split_images(data: Any, split: str, purpose: str) -> list[Path]:
    """Return the images of one split of a dataset on this disk; nothing is run, fetched or unpacked for it.

    Args:
        data: data YAML given by the user or recorded in a checkpoint; None where there is neither.
        split: `train` or `val`.
        purpose: what the images are for, for the error message, such as "to calibrate int8 on".

    Raises:
        FGDError: there is no such dataset on this disk, or it has no image in the split.
    """
    problem = f"no real images {purpose}"
    advice = f"pass data= (--data) with a dataset YAML whose {split} images are on this disk"
    if data is None:
        raise FGDError(f"{problem}: the checkpoint names no data; {advice}")
    try:
        return read_dataset(data, split=split, recorded=True).images(split)
    except FGDError as error:
        raise FGDError(f"{problem}: {one_line(error)[:200]}; {advice}") from error


def dataset_classes(data: Any) -> dict[int, str] | None:
    """Return the class names of a dataset on this disk by number, or None where there is no such dataset."""
    try:
        return read_dataset(data, recorded=True).facts["names"]
    except FGDError:  # what is wrong with it is reported where its images are read
        return None


def kept_dataset(run_dir: Path) -> Path | None:
    """Return the copy that a run folder keeps of its data, or None where it has none."""
    return next(iter(sorted((run_dir / FOLDER).glob("*.yaml"))), None)


def has_images(data: str | Path) -> bool:
    """Return whether a data YAML that a run folder names can be read and its images are where it says."""
    try:
        facts = read_dataset(data, recorded=True).facts
    except FGDError:
        return False
    return all(_is_there(place) for split in SPLITS for place in _entries(facts.get(split)))


def recorded_data(named: Any, weights: Path) -> Any:
    """Return the data that a checkpoint names; where its run folder has been moved since, the copy that moved with it.

    Args:
        named: the checkpoint's `data`.
        weights: the checkpoint, in a run folder or in `STAGE/weights` of one.
    """
    if isinstance(named, str) and Path(named).parent.name == FOLDER and not Path(named).exists():
        moved = [folder / FOLDER / Path(named).name for folder in weights.absolute().parents[:3]]
        return next((str(file) for file in moved if file.is_file()), named)
    return named


def _find(data: Any, allow_download: bool, recorded: bool) -> Path:
    """Return the YAML or archive that is meant, as Ultralytics looks for it."""
    if not isinstance(data, (str, Path)) or not str(data).strip():
        raise FGDError(f"{str(data)[:60]!r} is no data YAML: pass data= (--data) with one")
    name = str(data)
    if _ADDRESS.match(name.strip()) or name.lower().endswith(".ndjson"):
        name = str(_fetch(name.strip(), allow_download, recorded))
    if not Path(name).exists() and Path(name).suffix.lower() not in _YAML:  # coco8 for coco8.yaml
        name = next((f"{name}{suffix}" for suffix in sorted(_YAML) if check_file(f"{name}{suffix}", hard=False)), name)
    file = Path(check_file(name)).absolute()
    return find_dataset_yaml(file) if file.is_dir() else file


def _fetch(address: str, allow_download: bool, recorded: bool) -> str | Path:
    """Let Ultralytics fetch what is not on this disk: a YAML, an archive, or the images that an .ndjson names."""
    if recorded:
        raise FGDError(f"data {printable(address)} would have to be fetched, which is not done here: give a data YAML")
    print(f"data: {printable(address)} is to be fetched", flush=True)
    if not allow_download:
        raise FGDError(f"data {printable(address)} is fetched with {_HOW_TO_ALLOW} only, or give a file")
    with as_the_user_set_it():
        return check_file(convert_ndjson_to_yolo_if_needed(address))


def _read(file: Path, split: str, allow_download: bool, recorded: bool) -> DataYaml:
    if file.suffix.lower() not in _YAML:
        return _unpacked(file, recorded)
    described = YAML.load(file)
    moved = _moved_lists(file, described)
    if moved:
        return _with_lists(file, {**described, **moved}, split)
    split = split if described.get(split) else ""  # who asks for one that is not there says so
    try:
        with quiet_ultralytics():
            return DataYaml(file, _facts(file, autodownload=False, split=split))
    except FileNotFoundError as missing:
        script = described.get("download")
        if recorded or not script:
            path = re.search(r"missing path '(.*)'", str(missing))
            gone = f"there is no {path[1]}" if path else one_line(missing)
            not_run = ", and its download script is not run here" if script else ""
            raise FGDError(f"the images of {file} are missing{not_run}: {gone}") from missing
        _ask(file, str(script), allow_download)
    with as_the_user_set_it():
        return DataYaml(file, _facts(file, split=split))


def _facts(file: Path, **options: Any) -> dict[str, Any]:
    """Return what Ultralytics finds in a data YAML or archive, with class names that are safe to print."""
    facts = check_det_dataset(str(file), **options)
    return {**facts, "names": printable_names(facts["names"])}


def _moved_lists(file: Path, described: dict[str, Any]) -> dict[str, list[str]]:
    """Return the splits of a copy that has been moved with its run folder, with its lists where they are now."""
    found = {}
    for split in SPLITS:
        places = _entries(described.get(split))
        own = [file.parent / file.stem / split / Path(place).name for place in places]
        now = [
            str(list_file) if list_file.is_file() and not Path(place).exists() else place
            for place, list_file in zip(places, own, strict=True)
        ]
        if now != places:
            found[split] = now
    return found


def _with_lists(file: Path, described: dict[str, Any], split: str) -> DataYaml:
    with tempfile.TemporaryDirectory(prefix="fgd_yolo-data-") as folder:
        here = Path(folder) / file.name
        described = {key: value for key, value in described.items() if key != "download"}
        here.write_text(yaml.safe_dump(described), encoding="utf-8")
        return DataYaml(file, _read(here, split, allow_download=False, recorded=True).facts)


def _ask(file: Path, script: str, allow_download: bool) -> None:
    """Show what a YAML would run, and stop unless that is allowed or Ultralytics' own."""
    if is_known(file):
        print(f"data: {file.name} is Ultralytics' own and not on this disk yet: it is downloaded", flush=True)
        return
    print(f"data: the images of {file.name} are missing, and this is how it would get them:", flush=True)
    print("".join(f"    {printable(line.expandtabs(4))}\n" for line in script.splitlines()), end="", flush=True)
    if not allow_download:
        raise FGDError(
            f"the images of {file} are missing: put them there, or read what is printed above and let it run with "
            f"{_HOW_TO_ALLOW}"
        )


def is_known(file: Path) -> bool:
    """Return whether a data YAML is one of Ultralytics' own, to the last byte, wherever it lies."""
    own = ROOT / "cfg" / "datasets" / file.name
    return own.is_file() and own.read_bytes() == file.read_bytes()


def _unpacked(archive: Path, recorded: bool) -> DataYaml:
    """Let Ultralytics unpack an archive into its folder of data sets; it runs no script of a YAML in one."""
    if recorded:
        raise FGDError(f"data {archive} is no data YAML, and nothing is unpacked here")
    with as_the_user_set_it():
        return DataYaml(archive, _facts(archive, autodownload=False))


def _entries(places: str | list[str] | None) -> list[str]:
    listed = places if isinstance(places, list) else [places]
    return [place for place in listed if isinstance(place, str) and place]  # the rest is refused by Ultralytics


def _image_files(places: list[str]) -> list[Path]:
    """Return the images of folders and list files as Ultralytics' data set reads them, made absolute."""
    state = random.getstate()  # reading tries the disk's speed on a random sample
    try:
        with quiet_ultralytics():
            found = BaseDataset.get_img_files(SimpleNamespace(prefix="", fraction=1.0), places)
    except Exception as error:
        raise FGDError(f"no image can be found in {places[0]}: {one_line(error.__cause__ or error)}") from error
    finally:
        random.setstate(state)
    return [Path(file).absolute() for file in found]


def _images_in_lists(lists: list[str]) -> list[Path]:
    try:
        return _image_files(lists) if lists else []
    except FGDError:
        return []


def _is_there(place: str) -> bool:
    """Return whether a folder is there, or a list and the first image in it."""
    return Path(place).is_dir() or (
        Path(place).is_file() and all(Path(image).is_file() for image in _listed(place)[:1])
    )


def _listed(file: str) -> list[str]:
    return Path(file).read_text(encoding="utf-8-sig", errors="replace").splitlines()
