from __future__ import annotations

from urllib.parse import unquote, urlsplit

import pytest

from fgd_yolo.errors import UsageError
from fgd_yolo.streams.url import parse_url, try_parse_url

# The expected parts were written down by a person who read these addresses.
READ = {
    "rtsp://10.0.0.7/cam": (None, "10.0.0.7", None, "/cam"),
    "HTTP://Camera.lan:8080": (None, "Camera.lan", 8080, ""),
    "rtsp://admin@h/x": ("admin", "h", None, "/x"),
    "rtsp://:pw@h/x": (":pw", "h", None, "/x"),
    "rtsp://admin:@h/x": ("admin:", "h", None, "/x"),
    "rtsp://a:b@[::1]:554/c": ("a:b", "::1", 554, "/c"),
    "rtsp://[fe80::1%eth0]/c": (None, "fe80::1%eth0", None, "/c"),
    "rtsp://kamera-tür_2/c": (None, "kamera-tür_2", None, "/c"),
    # an @ of the path or the query
    "http://127.0.0.1:8791/@yard/plain": (None, "127.0.0.1", 8791, "/@yard/plain"),
    "http://camera:8080/@yard/plain": (None, "camera", 8080, "/@yard/plain"),
    "http://camera/@yard": (None, "camera", None, "/@yard"),
    "http://h?mail=me@example.com": (None, "h", None, "?mail=me@example.com"),
    "http://h#me@example.com": (None, "h", None, "#me@example.com"),
    "rtsp://10.0.0.7:554/user=admin&password=p@ss&channel=1": (
        *(None, "10.0.0.7", 554),
        "/user=admin&password=p@ss&channel=1",
    ),
    "rtsp://u:p@camera/user=admin&password=p@ss&channel=1": (
        *("u:p", "camera", None),
        "/user=admin&password=p@ss&channel=1",
    ),
    "http://u:p@10.0.0.7/@yard": ("u:p", "10.0.0.7", None, "/@yard"),
    "http://u:p@localhost/a@10.0.0.7/": ("u:p", "localhost", None, "/a@10.0.0.7/"),
    "http://u:p@camera:81/a@10.0.0.7/": ("u:p", "camera", 81, "/a@10.0.0.7/"),
    "https://u:p@cam.example/?mail=me@example.com": ("u:p", "cam.example", None, "/?mail=me@example.com"),
    "http://u:p@proxy/?src=rtsp://a:b@10.0.0.7:554/x": ("u:p", "proxy", None, "/?src=rtsp://a:b@10.0.0.7:554/x"),
    "http://proxy:1984/?src=rtsp://a:b@10.0.0.7:554/x": (None, "proxy", 1984, "/?src=rtsp://a:b@10.0.0.7:554/x"),
    # passwords as they are
    "rtsp://admin:p@ss@10.0.0.7/cam": ("admin:p@ss", "10.0.0.7", None, "/cam"),
    "rtsp://me@work.example:pw@10.0.0.7/cam": ("me@work.example:pw", "10.0.0.7", None, "/cam"),
    "rtsp://admin:two words@10.0.0.7/cam": ("admin:two words", "10.0.0.7", None, "/cam"),
    "rtsp://admin:pa/ss@camera/cam": ("admin:pa/ss", "camera", None, "/cam"),
    "rtsp://admin:/pass@camera/cam": ("admin:/pass", "camera", None, "/cam"),
    "rtsp://admin:pa?s#s@camera:554/cam": ("admin:pa?s#s", "camera", 554, "/cam"),
    "rtsp://admin:a:b/c@camera/cam": ("admin:a:b/c", "camera", None, "/cam"),
    "rtsp://admin:p@ss/word@10.0.0.7/cam": ("admin:p@ss/word", "10.0.0.7", None, "/cam"),
    "rtsp://admin:p@ss/word@camera:554/cam": ("admin:p@ss/word", "camera", 554, "/cam"),
    "rtsp://admin:pa/ss@10.0.0.7/user=a&password=p@ss&c=1": (
        "admin:pa/ss",
        "10.0.0.7",
        None,
        "/user=a&password=p@ss&c=1",
    ),
}
UNCLEAR = [
    "rtsp://admin:p@ss/word@camera/cam",  # the host may be ss or camera
    "http://u:p@camera/?mail=me@example.com",
    "rtsp://admin:12/34@10.0.0.7/cam",  # admin may be a host with port 12
    "rtsp://admin:pa/ss@10.0.0.7/b@10.0.0.8/cam",
    "rtsp://admin:pa/ss@a/b@c",
    "https://u:p@cam.example/x@10.0.0.7/y",
]
WRONG = [
    "",
    "rtsp://",
    "rtsp:h",
    "rtsp://@",
    "rtsp://a b/c",
    "rtsp://h:/c",
    "rtsp://h:0/c",
    "rtsp://h:65536/c",
    "rtsp://h:x",
]
WRONG += [
    "rtsp://h:٣/c",
    "rtsp://[::1",
    "rtsp://[h]/x",
    "rtsp://[::1]x/y",
    "rtsp://h=1/x",
    "rtsp://\ud800/",
    "rtsp://...",
    "/a",
]


@pytest.mark.parametrize(("text", "parts"), READ.items())
def test_an_address_is_parsed_as_a_person_reads_it(text, parts):
    url = try_parse_url(text)
    assert (url.login, url.host, url.port, url.rest) == parts
    assert url.scheme == text.partition(":")[0].lower()


@pytest.mark.parametrize("text", READ)
def test_an_encoded_address_means_the_same_to_a_standard_parser(text):
    login, host, port, rest = READ[text]
    url = urlsplit(try_parse_url(text).encoded())
    name, _, password = (login or "").partition(":")
    assert (unquote(url.username or ""), unquote(url.password or "")) == (name, password)
    assert (url.hostname, url.port) == (host.lower(), port)
    assert try_parse_url(text).encoded().endswith(rest)


@pytest.mark.parametrize("text", [*UNCLEAR, *WRONG])
def test_an_address_whose_host_is_unclear_is_refused_without_a_guess_and_without_showing_it(text):
    assert try_parse_url(text) is None
    with pytest.raises(UsageError, match="names no host") as caught:
        parse_url(text)
    assert "@ as %40" in str(caught.value)
    assert not [word for word in ("pa/ss", "ss/", "34@", "example", "10.0.0.8") if word in str(caught.value)]


@pytest.mark.parametrize("text", UNCLEAR)
def test_an_unclear_password_is_clear_once_it_is_encoded(text):
    scheme, _, rest = text.partition("://")
    login, _, place = rest.rpartition("@")
    name, _, password = login.partition(":")
    encoded = password.replace("@", "%40").replace("/", "%2F").replace("?", "%3F")
    url = try_parse_url(f"{scheme}://{name}:{encoded}@{place}")
    assert (url.user, unquote(url.password), url.host) == (name, password, place.partition("/")[0])
