"""The files for the camera box agree with the package."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


def test_the_requirements_are_the_base_and_two_extras():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    extras = setup["options.extras_require"]
    wanted = "\n".join((setup["options"]["install_requires"], extras["stream"], extras["web"]))
    lines = (DEPLOY / "requirements.txt").read_text().splitlines()
    listed = [line for line in lines if line and not line.startswith("#")]
    assert sorted(listed, key=str.lower) == sorted(filter(None, set(wanted.split("\n"))), key=str.lower)
    assert listed == sorted(listed, key=str.lower)


def test_the_image_copies_what_exists_and_runs_as_a_user():
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    for line in lines:
        if line.startswith("COPY"):
            assert all((ROOT / word).exists() for word in line.split()[1:-1]), line
    assert lines.index("USER 1000") < next(i for i, line in enumerate(lines) if line.startswith("ENTRYPOINT"))
    assert any(line.startswith("HEALTHCHECK") for line in lines)


def service_unit() -> configparser.SectionProxy:
    unit = configparser.ConfigParser()
    unit.optionxform = str
    unit.read(DEPLOY / "fgd-yolo-stream.service")
    return unit["Service"]


def test_a_usb_camera_can_be_opened_by_the_user_of_the_service():
    """Only the group video has access to its device."""
    assert service_unit()["SupplementaryGroups"] == "video"
    shown = (DEPLOY / "compose.yaml").read_text()
    uncommented = re.sub(r"^    # (?=\w+:$|  - )", "    ", shown, flags=re.MULTILINE)
    service = yaml.safe_load(uncommented)["services"]["stream"]
    assert service["devices"] == ["/dev/video0"]
    assert service["group_add"] == ["44"]


def test_the_cameras_passwords_are_installed_for_the_service_alone():
    guide = (ROOT / "docs" / "guides" / "camera-box.md").read_text()
    user = service_unit()["User"]
    assert f"sudo install -m 640 -g {user} deploy/streams.example.yaml /etc/fgd-yolo/streams.yaml" in guide
    assert guide.index(f"useradd --system --user-group {user}") < guide.index("install -m 640")


def test_the_example_file_and_the_compose_file_are_read():
    from fgd_yolo.streams.steps.zones import parse_layout
    from fgd_yolo.streams.stream_options import read_options

    options = read_options({}, DEPLOY / "streams.example.yaml")
    assert options.streams.keys() == {"gate", "yard"}
    yard = options.streams["yard"]
    assert parse_layout({"zones": yard.zones, "lines": yard.lines}).lines.keys() == {"way"}
    service = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["stream"]
    assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
