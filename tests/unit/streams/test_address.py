from __future__ import annotations

import subprocess
import sys
from urllib.parse import quote

import pytest

from fgd_yolo.errors import UsageError
from fgd_yolo.streams.address import check_name, check_text, default_name, redact, show_address, unique_name

SECRET = "hunter2pass"
HOSTILE = [
    *(
        "pass",
        "a:b@",
        "rtsp://",
        "rtsp:/",
        "rtsp:/a ",
        "://",
        "http://h/@yard ",
        "rtsp://a:b c@",
        "rtsp://a:@b ",
        "rtsp://a: b 'c ",
        "rtsp://u:p@ss/",
        "rtsp://a ",
    ),
    *(
        "%25",
        "%3A%2F",
        "%253a%252f",
        "%40",
        "rtsp://u:p%40",
        "@",
        ":",
        "/",
        " ",
        "'",
        "[",
        "a",
        "a.",
        "a:/",
        "x:/@ ",
        "/?#",
    ),
    *(
        "key=",
        "pass=",
        "&p=",
        "authorization:",
        "authorization: digest ",
        "cookie:",
        "token ",
        "\0",
        "\x1b[",
        "\ud800",
        "ü",
    ),
]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://admin:x1@10.0.0.7:554/cam", "rtsp://10.0.0.7:554"),
        ("rtsp://admin:p@ss/word@10.0.0.7/cam", "rtsp://10.0.0.7"),
        ("rtsp://admin:two words@10.0.0.7/cam and more", "rtsp://10.0.0.7 and more"),
        ("rtsp://admin:it's@10.0.0.7/cam", "rtsp://10.0.0.7"),
        ("rtsp://admin:12 34@10.0.0.7/x and 'rtsp://admin:12'34@10.0.0.8/x'", "rtsp://10.0.0.7 and 'rtsp://10.0.0.8'"),
        ("'rtsp://camera:554' and rtsp://camera:81, ask me@x", "'rtsp://camera:554' and rtsp://camera:81, ask me@x"),
        ("rtsp://admin:<x1x2>@10.0.0.7/cam", "rtsp://10.0.0.7"),
        ("rtsp://admin:'x1x2'@10.0.0.7:554/cam?a", "rtsp://10.0.0.7:554"),
        ("rtsp://admin:1 2 x1x2@10.0.0.7/cam", "rtsp://10.0.0.7"),
        ("cannot open rtsp://admin:1@2 x1x2@10.0.0.7/cam: refused", "cannot open rtsp://10.0.0.7: refused"),
        ("rtsp://camera: Connection refused [tcp @ 0x55]", "rtsp://camera: Connection refused [tcp @ 0x55]"),
        ("'rtsp://***': in a password write @ as %40", "'rtsp://***': in a password write @ as %40"),
        ("name rtsp://, https:// or test://", "name rtsp://, https:// or test://"),
        ("rtsp:/admin:pa/ss@10.0.0.7/cam", "rtsp:/10.0.0.7"),
        ("cannot open rtsp://admin:pa/ss@h/cam", "cannot open rtsp://h"),
        ("rtsp://admin:pass:word@", "rtsp://***"),
        ("a rtsp://a:b@h1/x, rtsp://c:d@h2 and rtsp://e@h3.", "a rtsp://h1, rtsp://h2 and rtsp://h3."),
        ("http://h/?src=rtsp%3A%2F%2Fa%3Ab%40cam%2Fx&fps=5", "http://h"),
        ("src=rtsp%253A%252F%252Fa%253Ab%2540cam%252Fx", "src=rtsp://cam"),
        ("[Errno 111] refused: 'rtsp://u:p@127.0.0.1:1/cam?token=abc'", "[Errno 111] refused: 'rtsp://127.0.0.1:1'"),
        ("rtsp://a:b@[::1]:554/c", "rtsp://[::1]:554"),
        ("login admin:x1@10.0.0.7/cam failed", "login ***@10.0.0.7 failed"),
        ("login admin:p/w@10.0.0.7 failed", "login ***@10.0.0.7 failed"),
        ("GET /cam?token=abc&channel=1", "GET /cam?token=***&channel=1"),
        ("Authorization: Basic YWRtaW4=", "Authorization: Basic ***"),
        ('Authorization: Digest username="a", response="b"', "Authorization: Digest ***"),
        ("Cookie: a=1; b=2", "Cookie: ***"),
        ('{"password": "abc", "fps": 5}', '{"password": "***", "fps": 5}'),
        ("no frame for 3.0 s, at 14:30", "no frame for 3.0 s, at 14:30"),
        ("/data/10:30/cam@2.mp4: No such file", "/data/10:30/cam@2.mp4: No such file"),
        ("file:///data/night.mp4", "file:///data/night.mp4"),
        ("C:/clips/me@home.mp4", "C:/clips/me@home.mp4"),
        ("test://?seed=4", "test://?seed=4"),
        ("two\nlines\x1b[2J\ud800\u202e", "two lines?[2J??"),
    ],
)
def test_of_an_address_in_a_text_only_scheme_host_and_port_are_shown(text, shown):
    assert redact(text) == shown


@pytest.mark.parametrize(
    "rest",
    [
        *(f"/0/admin:{SECRET}/main", f"?login=a:{SECRET}", f"?user=a:{SECRET}", f"/admin/{SECRET}", f"/{SECRET}@x"),
        *(f"/?{key}={SECRET}" for key in ("pswd", "cred", "psk", "ticket", "pass", "token", "key", "x", "channel")),
        *(
            f"/user=admin_password={SECRET}_channel=1.sdp",
            f"#{SECRET}",
            f"?{SECRET}",
            f"/a%2F{SECRET}",
            f"/a b {SECRET}",
        ),
    ],
)
def test_nothing_after_the_port_is_shown_whatever_its_key(rest):
    address = f"rtsp://10.0.0.7:554{rest}"
    assert show_address(address) == "rtsp://10.0.0.7:554"
    assert default_name(address) == "10.0.0.7-554"
    texts = [address, f"wrong: {SECRET}", f"no such path {rest}", f"GET {quote(rest)} failed", quote(address, safe="")]
    for text in texts:
        assert SECRET not in redact(text, address), text


def test_parts_of_a_known_address_are_hidden_alone_decoded_or_encoded():
    address = f"rtsp://admin:{quote('p@ss w/ord')}@h/cam?token=abc%21def"
    text = redact(f"wrong: p@ss w/ord, {quote('p@ss w/ord', safe='')}, abc!def, abc%21def", address)
    assert text == "wrong: ***, ***, ***, ***"
    assert redact("said longpass and longpass-token", "rtsp://a:longpass@h/?token=longpass-token") == "said *** and ***"


def test_messages_of_this_package_stay_readable_although_the_address_has_their_words():
    address = "rtsp://admin:hunter2@10.0.0.7/live/video/stream"
    assert redact("there is no video in the stream, it is live", address).count("***") == 0
    assert redact(f"cannot open {address}: 404", address) == "cannot open rtsp://10.0.0.7: 404"


@pytest.mark.parametrize("address", ["http://admin:p@ss/word@10.0.0.7/auth", "http://10.0.0.7/auth?word=name"])
def test_a_word_of_an_address_is_hidden_as_a_word_and_not_within_another_one(address):
    text = "401 Unauthorized: the password and the filenames are wrong"
    assert redact(text, address) == text
    assert redact("'auth', %2Fauth?x and 2%253Aword%2540h:auth", address) == "'***', ***?x and 2%253A***%2540h:***"


def test_a_local_path_stays_visible(tmp_path):
    clip = tmp_path / "token=abc" / "10:30@gate.mp4"
    clip.parent.mkdir()
    clip.touch()
    assert show_address(str(clip)) == str(clip)
    assert show_address("clips/*.jpg") == "clips/*.jpg"
    assert show_address(0) == "0"


@pytest.mark.parametrize(
    "address", ["admin:pa/ss@10.0.0.7/cam", "admin:x1@h", "rtsp:admin:x1@h", "rtsp:/a:x1@h", "x rtsp://a:x1@h"]
)
def test_an_address_with_a_typo_shows_no_password(address):
    shown = show_address(address)
    assert "pa/ss" not in shown and "x1" not in shown


CHILD = """
import resource, sys
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
from fgd_yolo.streams.address import check_name, check_text, default_name, redact, show_address
from fgd_yolo.streams import address
from fgd_yolo.streams.url import try_parse_url
for cap in ({caps}):
    address._LONGEST_READ = cap
    for kind in {kinds!r}:
        text = (kind * (1_000_000 // len(kind) + 1))[:1_000_000]
        for one in (text, text + " rtsp://a:b@h", "rtsp://a:" + text, "rtsp://h/" + text):
            redact(one)
            show_address(one), default_name(one[:2048])
        part = text[:2000]
        redact(text, "rtsp://a:" + part, "http://h/" + part), [try_parse_url(start + text) for start in ("rtsp://", "rtsp://a:")]
print("done")
"""


def in_child(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.slow
def test_a_megabyte_of_any_text_takes_time_in_proportion():
    child = in_child(CHILD.format(caps="16 << 10, ", kinds=HOSTILE))
    assert (child.stdout, child.returncode) == ("done\n", 0), child.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["pass", "rtsp://", "a:b@", "rtsp:/a ", "%253a%252f", "x:/@ ", "pass=", "rtsp://a:b c@"]
)
def test_the_time_is_in_proportion_without_the_limit_of_a_texts_length_too(kind):
    child = in_child(CHILD.format(caps="10_000_000, ", kinds=[kind]))
    assert (child.stdout, child.returncode) == ("done\n", 0), child.stderr


def test_a_long_text_is_cut_and_the_cut_goes_through_no_secret():
    password = "pw" + " a bc de" * 60  # words too short to be hidden one by one
    filler = f"rtsp://{'x' * 1500}@h " * 10  # of which little is left, so that the place of the cut is shown
    for spaces in range(200, 1400, 13):
        shown = redact(filler + " " * spaces + f"{password} rtsp://u:{SECRET}@h", f"rtsp://admin:{password}@h/")
        assert not set("abcdeun") & set(shown)
    assert "admin" not in redact(" " * 16_370 + f"rtsp://admin:1{SECRET}@h")
    shown = redact("word " * 10_000)
    assert len(shown) == 2004 and shown.endswith(" ...")


@pytest.mark.parametrize("address", ["rtsp://h/" + "x" * 3000, "x" * 3000, "rtsp://h/" + "ü" * 1100, "9" * 5000])
def test_an_address_above_two_kilobytes_is_refused(address):
    with pytest.raises(UsageError, match="longer than 2048 bytes") as caught:
        check_text(address)
    assert len(str(caught.value)) < 300
    check_text("rtsp://h/" + "x" * 2039)


@pytest.mark.parametrize(
    "name", ["", " ", "a\nb", "a\x1b[2J", "\ud800", "x" * 129, "rtsp://a:b@h/x", "a:b@h", "token=abc"]
)
def test_a_name_that_cannot_be_shown_is_refused(name):
    with pytest.raises(UsageError, match="stream") as caught:
        check_name(name)
    assert "b@h" not in str(caught.value) and "abc" not in str(caught.value) and str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["gate", "front door", "Tür 2", "10.0.0.7-554", "cam-token", "<b>", "a/b", "14:30"])
def test_any_other_name_is_fine(name):
    check_name(name)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        (0, "camera0"),
        ("3", "camera3"),
        ("rtsp://admin:secret@10.0.0.7:554/Streaming/Channels/101", "10.0.0.7-554"),
        ("http://h/video.cgi?channel=2&token=abcd", "h"),
        ("rtsp://a:b@[::1]:554/c", "1-554"),
        ("rtsp://a:b@/c", "rtsp"),
        ("test://", "test"),
        ("test://?seed=4", "test-seed-4"),
        ("clips/*.jpg", "jpg"),
        ("no/such/street.mp4", "street.mp4"),
    ],
)
def test_a_name_comes_from_host_and_port_or_from_the_file(address, name):
    assert default_name(address) == name


def test_a_file_gives_its_stem_and_a_folder_its_own_name(tmp_path):
    (tmp_path / "front door.mp4").touch()
    assert default_name(str(tmp_path / "front door.mp4")) == "front-door"
    assert default_name(f"{tmp_path}/") == tmp_path.name
    assert default_name(".") != ""
    assert default_name("x" * 300) == "x" * 80


def test_a_name_in_use_is_numbered():
    assert unique_name("0", {}) == "camera0"
    assert unique_name("0", {"camera0", "camera0-2", "camera0-4"}) == "camera0-3"
    assert unique_name("rtsp://a:b@10.0.0.7:554/two", {"10.0.0.7-554"}) == "10.0.0.7-554-2"


def test_a_name_is_safe_as_a_file_name_and_never_empty():
    for address in ("rtsp://h/../../etc", "http://h/" + "x" * 300, "///", "rtsp://u:p@h/a b?c=\nd", "rtsp://"):
        name = default_name(address)
        assert name and len(name) <= 80 and name[0] not in ".-" and not set(name) & set("/\\\n :@?*")
        check_name(name)
