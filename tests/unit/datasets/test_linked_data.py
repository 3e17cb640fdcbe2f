import yaml

from fgd_yolo.datasets import link_images, write_data_yaml
from fixtures import draw_dataset


def test_images_and_the_labels_that_exist_are_linked(tmp_path):
    data = draw_dataset(tmp_path / "data", train=3, val=1)
    images = sorted((data.parent / "images/train").iterdir())
    (data.parent / "labels/train/01.txt").unlink()
    links = [tmp_path / "new/images/part" / f"{number}.png" for number in range(3)]
    link_images(images, links, labels=True)
    assert [link.resolve() for link in links] == images
    labels = sorted((tmp_path / "new/labels/part").iterdir())
    assert [(label.name, label.resolve().name) for label in labels] == [("0.txt", "00.txt"), ("2.txt", "02.txt")]


def test_links_to_images_alone_have_no_labels_and_hold_with_relative_paths(tmp_path, monkeypatch):
    data = draw_dataset(tmp_path / "data", train=1, val=1)
    monkeypatch.chdir(data.parent)
    image = next((data.parent / "images/train").iterdir())
    link_images([image.relative_to(data.parent)], [tmp_path / "new/images/a.png"])
    assert (tmp_path / "new/images/a.png").samefile(image)
    assert not (tmp_path / "new/labels").exists()


def test_the_yaml_has_its_own_folder_as_root(tmp_path):
    file = write_data_yaml(tmp_path / "new/d.yaml", {"train": "images/train"}, {"names": {0: "disc"}})
    assert yaml.safe_load(file.read_text()) == {
        **{"path": str(tmp_path / "new"), "train": "images/train"},
        "names": {0: "disc"},
    }
