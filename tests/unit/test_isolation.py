from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest


def test_a_connection_that_leaves_the_machine_is_refused():
    with socket.socket() as client, pytest.raises(OSError, match="tests have no network"):
        client.connect(("192.0.2.1", 80))
    with socket.socket() as client, pytest.raises(OSError, match="tests have no network"):
        client.connect_ex(("192.0.2.1", 80))
    with pytest.raises(OSError, match="tests have no network"):
        socket.create_connection(("example.com", 80))


def test_a_connection_to_the_machine_itself_is_allowed():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        assert client.getpeername() == server.getsockname()


def test_a_download_in_a_subprocess_fails():
    code = "import urllib.request; urllib.request.urlopen('https://example.com')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "Connection refused" in done.stderr


def test_a_test_starts_in_an_empty_folder_with_an_empty_cache(tmp_path):
    assert list(Path.cwd().iterdir()) == []
    assert Path.cwd().is_relative_to(tmp_path)
    assert Path(os.environ["FGD_YOLO_CACHE"]).is_relative_to(tmp_path)
    assert not Path(os.environ["FGD_YOLO_CACHE"]).exists()


def test_ultralytics_keeps_its_settings_out_of_the_home_folder():
    from ultralytics.utils import ONLINE, USER_CONFIG_DIR

    assert not USER_CONFIG_DIR.is_relative_to(Path.home() / ".config")
    assert not ONLINE
