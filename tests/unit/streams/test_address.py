from __future__ import annotations

from urllib.parse import quote

import pytest

from fgd_yolo.streams.address import default_name, free_name, redact

SECRET = "hunter2pass"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://admin:x1@10.0.0.7:554/cam", "rtsp://***@10.0.0.7:554/cam"),
        ("rtsp://admin:p@ss/word@10.0.0.7/cam", "rtsp://***@10.0.0.7/cam"),
        ("rtsp://admin:p%40ss@10.0.0.7/cam", "rtsp://***@10.0.0.7/cam"),
        ("rtsp://admin:two words@10.0.0.7/cam", "rtsp://***@10.0.0.7/cam"),
        ("rtsp:/admin:pa/ss@10.0.0.7/cam", "rtsp:/***@10.0.0.7/cam"),
        ("cannot open rtsp://admin:pa/ss@h/cam", "cannot open rtsp://***@h/cam"),
        ("http://h/?u=x%26p%3Dabc&fps=5", "http://h/?u=x%26p%3D***&fps=5"),
        ("https://sometoken@host/live", "https://***@host/live"),
        ("a rtsp://a:b@h1/x, rtsp://c:d@h2 and rtsp://e@h3", "a rtsp://***@h1/x, rtsp://***@h2 and rtsp://***@h3"),
        ("login admin:x1@10.0.0.7 failed", "login ***@10.0.0.7 failed"),
        ("http://h/v?channel=2&password=x&size=3", "http://h/v?channel=2&password=***&size=3"),
        ("http://h/v?user=admin&pwd=x&loginpas=y&p=z", "http://h/v?user=admin&pwd=***&loginpas=***&p=***"),
        ("http://h/v?access_token=a.b-c&X-Amz-Signature=ff", "http://h/v?access_token=***&X-Amz-Signature=***"),
        ("http://h/user=admin_password=tlJw_channel=1.sdp", "http://h/user=admin_password=***"),
        ("http://h/?src=rtsp%3A%2F%2Fa%3Ab%40cam%2Fx&fps=5", "http://h/?src=rtsp%3A%2F%2F***%40cam%2Fx&fps=5"),
        ("http://h/?src=rtsp%253A%252F%252Fa%253Ab%2540cam", "http://h/?src=rtsp%253A%252F%252F***%2540cam"),
        ("http://h/?u=x%26token%3Dabc&fps=5", "http://h/?u=x%26token%3D***&fps=5"),
        ("Authorization: Basic YWRtaW4=", "Authorization: Basic ***"),
        ('{"password": "abc", "fps": 5}', '{"password": "***", "fps": 5}'),
        (
            "[Errno 111] Connection refused: 'rtsp://u:p@127.0.0.1:1/cam?token=abc'",
            "[Errno 111] Connection refused: 'rtsp://***@127.0.0.1:1/cam?token=***'",
        ),
        ("no picture for 3.0 s, at 14:30", "no picture for 3.0 s, at 14:30"),
        ("rtsp://10.0.0.7:554/cam?channel=1", "rtsp://10.0.0.7:554/cam?channel=1"),
    ],
)
def test_passwords_and_tokens_are_hidden_and_the_rest_is_shown(text, shown):
    assert redact(text) == shown


@pytest.mark.parametrize("separator", "?&")
@pytest.mark.parametrize(
    "key",
    [
        "pass",
        "passwd",
        "Password",
        "PWD",
        "token",
        "auth",
        "api_key",
        "apikey",
        "secret",
        "psw",
        "pw",
        "key",
        "sig",
        "jwt",
        "session",
        "credential",
        "code",
        "pin",
    ],
)
def test_a_secret_is_hidden_under_every_usual_key(key, separator):
    assert SECRET not in redact(f"http://h/cam{separator}{key}={SECRET}")


def test_secrets_of_a_known_address_are_hidden_even_alone_decoded_or_encoded():
    address = f"rtsp://admin:{quote('p@ss w/ord')}@h/cam?token=abc%21def"
    text = redact(f"wrong: p@ss w/ord, {quote('p@ss w/ord', safe='')}, abc!def, abc%21def", address)
    assert text == "wrong: ***, ***, ***, ***"


def test_a_secret_that_contains_another_is_hidden_whole():
    assert redact("said longpass and longpass-token", "rtsp://a:longpass@h/?token=longpass-token") == "said *** and ***"


@pytest.mark.parametrize(
    ("address", "name"),
    [
        (0, "camera0"),
        ("3", "camera3"),
        ("rtsp://admin:secret@10.0.0.7:554/Streaming/Channels/101", "10.0.0.7-554-Streaming-Channels-101"),
        ("http://h/video.cgi?channel=2&token=abcd", "h-video.cgi-channel-2-token"),
        ("rtsp://a:b@[::1]:554/c", "1-554-c"),
        ("test://", "test"),
        ("test://?seed=4", "test-seed-4"),
        ("clips/*.jpg", "jpg"),
        ("no/such/street.mp4", "street.mp4"),
    ],
)
def test_a_name_comes_from_the_address_without_its_secrets(address, name):
    assert default_name(address) == name


def test_a_file_gives_its_stem_and_a_folder_its_own_name(tmp_path):
    (tmp_path / "front door.mp4").touch()
    assert default_name(str(tmp_path / "front door.mp4")) == "front-door"
    assert default_name(f"{tmp_path}/") == tmp_path.name
    assert default_name(".") != ""


def test_a_name_that_is_taken_is_numbered():
    assert free_name("0", {}) == "camera0"
    assert free_name("0", {"camera0", "camera0-2", "camera0-4"}) == "camera0-3"


def test_a_name_is_safe_as_a_file_name_and_never_empty():
    for address in ("rtsp://h/../../etc", "http://h/" + "x" * 300, "///", "rtsp://u:p@h/a b?c=\nd"):
        name = default_name(address)
        assert name and len(name) <= 80 and name[0] not in ".-" and not set(name) & set("/\\\n :@?*")
