"""A data set is read once, and nothing that its YAML names is run or downloaded without permission."""

from __future__ import annotations

import http.server
import random
import threading
import zipfile
from pathlib import Path

import pytest
import yaml
from ultralytics.cfg import get_cfg
from ultralytics.data import build_yolo_dataset
from ultralytics.data.utils import check_det_dataset
from ultralytics.utils import ROOT

from fgd_yolo.datasets import read_dataset, run_dataset, scan_dataset, split_images
from fgd_yolo.datasets.reading import is_official
from fgd_yolo.errors import FGDError
from fixtures import draw_dataset


@pytest.fixture
def data(tmp_path) -> Path:
    return draw_dataset(tmp_path / "data", train=4, val=3)


@pytest.fixture
def unpacked(tmp_path, monkeypatch) -> Path:
    """Ultralytics' folder of data sets; its own choice is beside the checkout, where a developer may keep some."""
    folder = tmp_path / "datasets"
    monkeypatch.setattr("ultralytics.data.utils.DATASETS_DIR", folder)
    return folder


@pytest.fixture
def marker(tmp_path) -> Path:
    return tmp_path / "executed"


def described(data: Path, name: str, **changes) -> Path:
    """Write a copy of a data YAML with changes beside it; None removes a key."""
    description = {**yaml.safe_load(data.read_text()), **changes}
    path = data.with_name(name)
    path.write_text(yaml.safe_dump({key: value for key, value in description.items() if value is not None}))
    return path


def program(marker: Path) -> str:
    return f"import os\nos.mkdir({str(marker)!r})"


@pytest.fixture
def missing(data, marker) -> Path:
    """A data YAML whose val images are missing and whose download is a program."""
    return described(data, "evil.yaml", val="images/gone", download=program(marker))


@pytest.fixture
def server(tmp_path):
    """A web server of a folder, which records the requested paths: (address, folder, paths)."""
    folder, requests = tmp_path / "served", []
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(folder))

        def do_GET(self):
            requests.append(self.path)
            super().do_GET()

        def do_HEAD(self):
            requests.append(self.path)
            super().do_HEAD()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}", folder, requests
        running.shutdown()
        thread.join()


def test_a_download_script_is_shown_and_not_run(missing, marker, capsys):
    with pytest.raises(FGDError, match=r"evil\.yaml are missing.*--allow-download") as stopped:
        read_dataset(missing)
    assert "\n" not in str(stopped.value) and not marker.exists()
    assert f"    import os\n    os.mkdir({str(marker)!r})\n" in capsys.readouterr().out


def test_a_bash_line_and_an_address_are_shown_and_not_run_either(data, marker, capsys, server):
    address, _, requests = server
    for number, line in enumerate([f"bash -c mkdir${{IFS}}{marker}", f"{address}/images.zip"]):
        with pytest.raises(FGDError, match="--allow-download"):
            read_dataset(described(data, f"{number}.yaml", val="gone", download=line))
        assert line in capsys.readouterr().out
    assert not marker.exists() and not requests


def test_a_printed_script_cannot_control_the_terminal(data, capsys):
    with pytest.raises(FGDError):
        read_dataset(described(data, "x.yaml", val="gone", download="print(1)  # \x1b[2K\x1b[1A\x9b \u202e harmless"))
    shown = capsys.readouterr().out
    assert "print(1)" in shown and all(char.isprintable() or char == "\n" for char in shown)


def test_a_script_runs_with_permission_and_is_shown_first(data, marker, capsys):
    script = f"import os\nos.rename({str(data.parent / 'images/val')!r}, {str(data.parent / 'images/there')!r})"
    wanted = described(data, "fine.yaml", val="images/there", download=script)
    dataset = read_dataset(wanted, allow_download=True)
    assert len(dataset.images("val")) == 3 and script.splitlines()[1] in capsys.readouterr().out


def test_nothing_is_run_for_recorded_data_even_with_permission(missing, marker):
    with pytest.raises(FGDError, match="not run here"):
        read_dataset(missing, allow_download=True, recorded=True)
    assert not marker.exists()


def test_a_copy_holds_no_script_and_gives_ultralytics_the_same_images(data, marker, tmp_path):
    source = described(data, "script.yaml", download=program(marker), license="free", nc=3)
    copied = read_dataset(source).copy_to(tmp_path / "copied")
    assert "download" not in yaml.safe_load(copied.file.read_text()) and copied.file == tmp_path / "copied/script.yaml"
    original, copy = check_det_dataset(str(source)), check_det_dataset(str(copied.file))
    for key in ("path", "train", "val", "names", "nc", "channels"):
        assert copy[key] == original[key]
    assert copied.copy_if_needed(tmp_path / "other") is copied and not (tmp_path / "other").exists()


@pytest.mark.parametrize("key", ["kpt_shape", "flip_idx", "kpt_names"])
def test_options_of_other_tasks_stay_in_the_copy(key, data, tmp_path):
    value = {"kpt_shape": [3, 2], "flip_idx": [0, 2, 1], "kpt_names": {0: ["a", "b", "c"]}}[key]
    copied = read_dataset(described(data, "pose.yaml", **{key: value})).copy_to(tmp_path / "copied")
    assert check_det_dataset(str(copied.file))[key] == value


def test_a_folder_name_cannot_smuggle_a_script_into_the_copy(tmp_path, marker):
    folder = tmp_path / f"x\ndownload: {program(marker)!r}\n"
    copied = read_dataset(draw_dataset(folder, train=2, val=2)).copy_to(tmp_path / "copied")
    assert set(yaml.safe_load(copied.file.read_text())) == {"path", "train", "val", "names", "nc", "channels"}


def test_data_sets_of_ultralytics_are_recognised_by_their_content(tmp_path):
    own = ROOT / "cfg/datasets/coco8.yaml"
    copy, other = tmp_path / "coco8.yaml", tmp_path / "other/coco8.yaml"
    copy.write_bytes(own.read_bytes())
    other.parent.mkdir()
    other.write_bytes(own.read_bytes().replace(b"https://github.com/ultralytics", b"https://github.com/somebody"))
    assert is_official(own) and is_official(copy) and not is_official(other)


@pytest.mark.parametrize("name", ["coco8.yaml", "coco8"])
def test_a_data_set_of_ultralytics_downloads_by_name_alone(name, unpacked, monkeypatch):
    requests = []

    def unpack(url, dir, **_):
        requests.append(url)
        draw_dataset(Path(dir) / "coco8", train=2, val=2)

    monkeypatch.setattr("ultralytics.data.utils.safe_download", unpack)
    dataset = read_dataset(name)
    assert requests == ["https://github.com/ultralytics/assets/releases/download/v0.0.0/coco8.zip"]
    assert len(dataset.images("val")) == 2 and Path(dataset.info["path"]) == unpacked / "coco8"


def test_a_file_that_only_has_the_name_of_one_is_not_recognised(data, marker):
    pretender = described(data, "coco8.yaml", val="gone", download=program(marker))
    with pytest.raises(FGDError, match="--allow-download"):
        read_dataset(pretender)
    assert not marker.exists()


@pytest.mark.parametrize("form", ["{}/data.yaml", " {}/data.yaml", "{}/data.zip", "{}/data.ndjson", "{}/x.yaml?y=1"])
@pytest.mark.parametrize("recorded", [True, False])
def test_an_address_is_not_downloaded(form, recorded, server, capsys):
    address, _, requests = server
    with pytest.raises(FGDError, match="is not downloaded here" if recorded else "--allow-download"):
        read_dataset(form.format(address), recorded=recorded)
    assert not requests and not list(Path.cwd().iterdir())


@pytest.mark.parametrize(
    "form", ["ul://me/datasets/mine", "https://platform.ultralytics.com/me/datasets/x", "gs://a/b.yaml"]
)
def test_addresses_of_other_kinds_are_not_downloaded_either(form):
    with pytest.raises(FGDError, match="--allow-download"):
        read_dataset(form)


def test_the_addresses_in_a_local_file_are_not_downloaded(tmp_path, server):
    address, _, requests = server
    file = tmp_path / "mine.ndjson"
    file.write_text(f'{{"type": "dataset", "task": "detect"}}\n{{"type": "image", "url": "{address}/a.jpg"}}\n')
    with pytest.raises(FGDError, match="--allow-download"):
        read_dataset(file)
    assert not requests


def test_an_address_is_downloaded_with_permission_and_its_script_is_shown(data, server, monkeypatch, capsys):
    address, folder, requests = server
    monkeypatch.delenv("YOLO_OFFLINE", raising=False)
    script = f"import os\nos.rename({str(data.parent / 'images/val')!r}, {str(data.parent / 'images/there')!r})"
    text = described(data, "web.yaml", val="images/there", download=script).read_bytes()
    (folder / "web.yaml").write_bytes(text)
    dataset = read_dataset(f"{address}/web.yaml", allow_download=True)
    assert requests == ["/web.yaml"] and len(dataset.images("val")) == 3
    shown = capsys.readouterr().out
    assert f"{address}/web.yaml" in shown and script.splitlines()[1] in shown


@pytest.mark.usefixtures("unpacked")
def test_an_archive_on_this_disk_is_unpacked_without_running_its_script(tmp_path, marker):
    source = draw_dataset(tmp_path / "packed", train=3, val=2)
    described(source, "tiny.yaml", path=None, val="images/gone", download=program(marker))
    fine = tmp_path / "fine.zip"
    with zipfile.ZipFile(fine, "w") as archive:
        for file in source.parent.rglob("*.*"):
            archive.write(file, Path("fine") / file.relative_to(source.parent))
        with pytest.raises(FGDError, match="nothing is unpacked here"):
            read_dataset(fine, recorded=True)
    with pytest.raises(FGDError, match="cannot be used") as refused:
        read_dataset(fine)
    assert "images not found" in str(refused.value.__cause__)
    assert not marker.exists()


def test_an_archive_is_read_from_where_ultralytics_unpacks_it(tmp_path, unpacked):
    source = draw_dataset(tmp_path / "packed", train=3, val=2)
    described(source, "tiny.yaml", path="somewhere/else")
    archive_file = tmp_path / "images.zip"
    with zipfile.ZipFile(archive_file, "w") as archive:
        for file in source.parent.rglob("*.*"):
            archive.write(file, Path("images") / file.relative_to(source.parent))
    copied = read_dataset(archive_file).copy_to(tmp_path / "copied")
    assert len(read_dataset(copied.file).images("train")) == 3
    assert read_dataset(copied.file).images("val")[0].is_relative_to(unpacked)


def ultralytics_images(data: Path, split: str) -> list[str]:
    """Return the images of a split as Ultralytics' training reads them, made absolute."""
    facts = check_det_dataset(str(data), autodownload=False)
    dataset = build_yolo_dataset(get_cfg(overrides={"task": "detect"}), facts[split], 1, facts, mode="val")
    return [str(Path(label["im_file"]).absolute()) for label in dataset.labels]


def lists(data: Path, here: Path, monkeypatch) -> dict[str, Path]:
    """Write image lists in several forms, and change to the folder that some of them are relative to."""
    folder = data.parent
    monkeypatch.chdir(here)
    names = [f"{index:02}.png" for index in range(4)]
    forms = {
        "beside": [f"./images/train/{name}" for name in names],
        "here": [f"{folder.name}/images/train/{name}" for name in names],
        "up": [f"{folder.name}/../{folder.name}/images/train/{name}" for name in names],
        "absolute": [f"{folder}/images/train/{name}" for name in names],
        "marked": [f"\ufeff{folder}/images/train/{names[0]}", "", "notes.md", f"{folder}/images/train/{names[1]}"],
    }
    made = {}
    for form, lines in forms.items():
        (folder / f"{form}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        made[form] = described(data, f"{form}.yaml", train=f"{form}.txt", val=["images/val", f"{form}.txt"])
    return made


@pytest.mark.parametrize("form", ["beside", "here", "up", "absolute", "marked"])
def test_image_lists_are_read_as_by_ultralytics_and_mean_the_same_in_every_folder(form, data, tmp_path, monkeypatch):
    source = lists(data, data.parent.parent, monkeypatch)[form]
    expected = {split: ultralytics_images(source, split) for split in ("train", "val")}
    dataset = read_dataset(source)
    copied = dataset.copy_to(tmp_path / "copied")
    assert [str(image) for image in dataset.images("train")] == expected["train"]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    for split, images in expected.items():
        # Sorted, since names of one list that are relative and others that are not sort differently once absolute.
        assert sorted(ultralytics_images(copied.file, split)) == sorted(images)
        assert sorted(str(image) for image in read_dataset(copied.file).images(split)) == sorted(images)
    assert len(expected["train"]) == (2 if form == "marked" else 4) and len(expected["val"]) > 3
    assert read_dataset(copied.file).copy_if_needed(elsewhere).file == copied.file and not list(elsewhere.iterdir())


def test_an_image_list_keeps_the_name_by_which_ultralytics_recognises_coco(data, tmp_path):
    folder = data.parent
    (folder / "val2017.txt").write_text("".join(f"./images/val/{index:02}.png\n" for index in range(3)))
    copied = read_dataset(described(data, "coco.yaml", val="val2017.txt")).copy_to(tmp_path / "copied")
    assert copied.info["val"].endswith("/val2017.txt") and "coco" in copied.info["val"].removeprefix(str(tmp_path))
    # Ultralytics looks for annotations/instances_val2017.json there.
    assert check_det_dataset(str(copied.file))["path"] == folder


@pytest.mark.parametrize("content", [b"", b"images/one.jpg\n", b"\xff\xfe/a.png\n"], ids=["empty", "gone", "Latin-1"])
def test_an_image_list_that_is_not_needed_may_be_useless(content, data, tmp_path):
    (data.parent / "test.txt").write_bytes(content)
    listed = described(data, "listed.yaml", test="test.txt")
    copied = scan_dataset(str(listed), {}).copy_to(tmp_path / "run")
    copy, original = (check_det_dataset(str(file)) for file in (copied.file, listed))
    assert (copy["train"], copy["val"]) == (original["train"], original["val"])
    assert read_dataset(listed).copy_if_needed(tmp_path / "plain").images("val") == copied.images("val")
    assert run_dataset(tmp_path / "nowhere") is None


def test_a_needed_list_without_an_image_is_named(data):
    (data.parent / "empty.txt").touch()
    with pytest.raises(FGDError, match=r"empty\.txt"):
        scan_dataset(str(described(data, "listed.yaml", train="empty.txt")), {})


def test_the_digest_does_not_depend_on_the_folder_that_an_image_list_is_relative_to(data, tmp_path, monkeypatch):
    made = lists(data, data.parent.parent, monkeypatch)
    here = scan_dataset(str(made["here"]), {"imgsz": 64})
    copied = here.copy_to(tmp_path / "run/data")
    monkeypatch.chdir(tmp_path / "run")
    assert scan_dataset(copied.file, {"imgsz": 64}, recorded=True).scan.digest == here.scan.digest
    assert scan_dataset(str(made["beside"]), {"imgsz": 64}).scan.digest == here.scan.digest
    assert run_dataset(tmp_path / "run") == copied.file


def test_reading_draws_no_random_number(data, monkeypatch):
    source = lists(data, data.parent.parent, monkeypatch)["here"]
    random.seed(7)
    expected = [random.random() for _ in range(3)]
    random.seed(7)
    read_dataset(source).images("train")
    assert [random.random() for _ in range(3)] == expected


@pytest.mark.parametrize("given", [None, "", 5, {"train": "x"}, ["a.yaml"]])
def test_a_value_that_is_no_data_set_is_refused(given):
    with pytest.raises(FGDError, match="not a data YAML"):
        read_dataset(given)


def test_a_missing_split_is_named(data):
    dataset = read_dataset(data, split="test")
    with pytest.raises(FGDError, match="names no test images"):
        dataset.images("test")


def test_either_split_can_be_listed(tiny_data):
    assert len(split_images(tiny_data, "train", "to calibrate on")) == 12
    with pytest.raises(FGDError, match=r"^no real images to calibrate on: the checkpoint names no data; pass[^;]*$"):
        split_images(None, "train", "to calibrate on")


def test_a_split_that_is_missing_is_one_line_about_the_data(tiny_data, tmp_path):
    description = {**yaml.safe_load(tiny_data.read_text()), "path": str(tiny_data.parent), "train": "images/gone"}
    (tmp_path / "gone.yaml").write_text(yaml.safe_dump(description))
    message = r"no real images to calibrate on: .*images/gone does not exist; pass data= \(--data\)"
    with pytest.raises(FGDError, match=message):
        split_images(tmp_path / "gone.yaml", "train", "to calibrate on")
