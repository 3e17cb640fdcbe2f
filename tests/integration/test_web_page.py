"""The page in a real browser, in front of a real pipeline."""

from __future__ import annotations

import json
import shutil
import time

import pytest

from fgd_yolo.runtime import OnnxDetector
from fgd_yolo.streams.pipeline import Pipeline
from fgd_yolo.streams.sinks.collect import CollectSink
from fgd_yolo.streams.web import bind, create_app
from fgd_yolo.streams.web.latest_frames import LatestFrames
from onnx_files import save_detector

webdriver = pytest.importorskip("selenium.webdriver")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
TOKEN = "correct-horse-battery"
TIMEOUT_S = 60
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --window-size=1280,1000"
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver: apt-get install both"),
]


@pytest.fixture
def browser(tmp_path):
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS.split(), f"--user-data-dir={tmp_path / 'chromium'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.set_page_load_timeout(TIMEOUT_S)
    yield driver
    driver.quit()


@pytest.fixture
def pipeline(tmp_path):
    """A running pipeline with one stream, called `first`, and its observer."""
    frames = LatestFrames()
    running = Pipeline(OnnxDetector(save_detector(tmp_path / "model.onnx"), threads=1), observers=[frames])
    running.add("test://?fps=10&size=320x240", "first")
    with running:
        yield running, frames


@pytest.fixture
def page(browser, pipeline):
    """The open page of that pipeline, and its server."""
    with bind("127.0.0.1", 0) as server:
        server.start(create_app(*pipeline))
        browser.get(server.url)
        until(lambda: text(browser, "#connection") == "Live")
        yield browser, server


def until(condition):
    end = time.monotonic() + TIMEOUT_S
    while not (value := condition()):
        assert time.monotonic() < end, "the condition was not met in time"
        time.sleep(0.1)
    return value


def find(browser, selector):
    elements = browser.find_elements("css selector", selector)
    return elements[0] if elements else None


def text(browser, selector):
    return browser.execute_script("return document.querySelector(arguments[0])?.textContent ?? ''", selector)


def streams(browser):
    # In one script: a card may be removed between two commands.
    return set(
        browser.execute_script("return [...document.querySelectorAll('.card')].map((card) => card.dataset.stream)")
    )


def add(browser, address, name):
    find(browser, "#open-add").click()
    for field, value in (("#address", address), ("#name", name)):
        find(browser, field).clear()
        find(browser, field).send_keys(value)
    find(browser, "#add [type=submit]").click()


def remove(browser, name):
    button = find(browser, f'[data-stream="{name}"] .remove')
    button.click()
    assert button.text == "Really remove?"
    button.click()
    until(lambda: name not in streams(browser))


def console_errors(browser):
    return [entry["message"] for entry in browser.get_log("browser")]


def test_the_video_moves_the_counts_change_and_the_console_is_empty(page):
    browser, _ = page
    until(lambda: text(browser, ".state") == "UP")
    live = find(browser, ".live")
    until(lambda: live.get_attribute("width") == "320")
    shot, seen = live.screenshot_as_png, text(browser, "[data-count=seen]")
    until(lambda: live.screenshot_as_png != shot)
    until(lambda: int(text(browser, "[data-count=seen]")) > int(seen))
    until(lambda: float(text(browser, "[data-count=fps]")) > 3)
    until(lambda: "–" not in text(browser, "[data-stage=infer_end]"))
    until(lambda: text(browser, "[data-peak=age]").startswith("max "))
    assert text(browser, ".kept") == text(browser, "#collecting") == ""  # this run collects nothing
    assert console_errors(browser) == []


def test_the_boxes_are_drawn_on_the_video(page):
    browser, _ = page
    # The detector finds its object in the middle of every frame: 20 of 64 across is 100 of 320 pixels.
    code = """
      const brush = document.querySelector(".live").getContext("2d");
      return [...brush.getImageData(110, 120, 1, 1).data].slice(0, 3);
    """
    until(lambda: find(browser, ".live").get_attribute("width") == "320")
    red, green, blue = until(lambda: browser.execute_script(code))
    assert blue > red + 20
    assert blue > green + 20


@pytest.mark.parametrize("name", ["second", "constructor", "__proto__"])
def test_a_stream_is_added_stopped_started_and_removed(page, pipeline, name):
    browser, _ = page
    add(browser, "test://?fps=5&size=160x120&seed=4", name)
    until(lambda: streams(browser) == {"first", name})
    assert not find(browser, "#add").is_displayed()
    state = f'[data-stream="{name}"] .state'
    until(lambda: text(browser, state) == "UP")
    until(lambda: find(browser, f'[data-stream="{name}"] .live').get_attribute("width") == "160")
    assert not find(browser, '[data-stream="first"] .toggle').is_displayed()  # its settings are not known to the page
    toggle = find(browser, f'[data-stream="{name}"] .toggle')
    toggle.click()
    until(lambda: text(browser, state) == "STOPPED" and toggle.text == "Start")
    assert set(pipeline[0].stats()["streams"]) == {"first"}
    toggle.click()
    until(lambda: text(browser, state) == "UP" and toggle.text == "Stop")
    remove(browser, name)
    assert set(pipeline[0].stats()["streams"]) == {"first"}
    assert console_errors(browser) == []


def test_the_page_shows_what_was_kept_and_why_collecting_stopped(browser, tmp_path):
    frames = LatestFrames()
    sink = CollectSink(tmp_path / "frames", per_hour=10_000, limit_mb=0.05)
    running = Pipeline(OnnxDetector(save_detector(tmp_path / "model.onnx"), threads=1), [sink], observers=[frames])
    running.add("test://?fps=10&size=320x240", "constructor")
    with running, bind("127.0.0.1", 0) as server:
        server.start(create_app(running, frames))
        browser.get(server.url)
        until(lambda: text(browser, ".kept").startswith("Kept to learn from: ordinary "))
        until(lambda: find(browser, "#collecting").is_displayed())
        assert "its limit of 0.05 MB is reached" in text(browser, "#collecting")
        add(browser, "test://?fps=5&size=160x120&seed=4", "later")
        until(lambda: text(browser, '[data-stream="later"] .kept') == "Kept to learn from: none yet")
        assert text(browser, '[data-stream="constructor"] .state') == "UP"
        assert console_errors(browser) == []


def test_an_invalid_address_is_explained_in_the_form_by_keyboard_alone(page):
    from selenium.webdriver.common.keys import Keys

    browser, _ = page
    button = find(browser, "#open-add")
    browser.execute_script("arguments[0].focus()", button)
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    browser.switch_to.active_element.send_keys("/etc/passwd", Keys.ENTER)
    until(lambda: "files and folders cannot be opened" in find(browser, "#add-error").text)
    assert find(browser, "#add").is_displayed()
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    until(lambda: not find(browser, "#add").is_displayed())
    assert browser.switch_to.active_element == button


def test_a_password_is_nowhere_on_the_page(page):
    browser, _ = page
    add(browser, "http://admin:hunter2secret@127.0.0.1:9/hunter2path?ticket=hunter2ticket", "unplugged")
    until(lambda: text(browser, '[data-stream="unplugged"] .state') == "DOWN")
    assert text(browser, '[data-stream="unplugged"] .notice') != ""
    assert text(browser, '[data-stream="unplugged"] .source') == "http://127.0.0.1:9, newest frame"
    fetched = browser.execute_async_script("fetch('/stats').then((a) => a.text()).then(arguments[0])")
    assert "unplugged" in fetched
    assert "hunter2" not in browser.page_source + fetched


def test_the_page_shows_that_the_server_is_not_reachable_and_recovers_by_itself(page, pipeline):
    browser, server = page
    server.stop()
    until(lambda: text(browser, "#connection") == "Disconnected")
    assert "cannot be reached" in find(browser, "#disconnected").text
    with bind("127.0.0.1", server.port) as again:
        again.start(create_app(*pipeline))
        until(lambda: text(browser, "#connection") == "Live")
        assert not find(browser, "#disconnected").is_displayed()
        shot = find(browser, ".live").screenshot_as_png
        until(lambda: find(browser, ".live").screenshot_as_png != shot)


def test_the_right_token_opens_the_page_and_a_wrong_one_does_not(browser, pipeline):
    with bind("127.0.0.1", 0, TOKEN) as server:
        server.start(create_app(*pipeline, token=TOKEN))
        browser.get(f"{server.url}?token=wrong-wrong")
        assert "token required" in find(browser, "h1").text
        assert find(browser, "#grid") is None
        assert any("401" in message for message in console_errors(browser))
        find(browser, "[name=token]").send_keys(TOKEN)
        find(browser, "button").click()
        until(lambda: text(browser, "#connection") == "Live")
        assert browser.current_url == server.url
        browser.refresh()
        until(lambda: text(browser, "#connection") == "Live")
        assert TOKEN not in json.dumps(browser.get_cookies())
        assert browser.execute_script("return document.cookie") == ""
        assert console_errors(browser) == []


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_is_wider_than_the_screen(page, width):
    browser, _ = page
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    add(browser, "test://?fps=5&size=160x120", "a-very-long-name-10.0.0.7-554-Streaming-Channels-101-x")
    until(lambda: len(streams(browser)) == 2)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


def test_nothing_is_encoded_once_the_page_is_closed(page, pipeline):
    browser, _ = page
    frames = pipeline[1]
    until(lambda: frames.encoded > 2)
    browser.get("about:blank")
    until(lambda: not frames._waiting)
    encoded = frames.encoded
    seen = pipeline[0].stats()["streams"]["first"]["seen"]
    until(lambda: pipeline[0].stats()["streams"]["first"]["seen"] > seen + 5)
    assert frames.encoded <= encoded + 1
