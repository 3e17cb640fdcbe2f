from __future__ import annotations

import logging

import pytest

from fgd_yolo.text import clean_record, counted, listed, printable, printable_names, shortened, single_line

HOSTILE = {
    "colour": "\x1b[31m",
    "title": "\x1b]0;owned\x07",
    "clear screen": "\x1b[2J",
    "C1 sequence": "\x9b2J",
    "line break": "\r\n",
    "NUL": "\0",
    "DEL": "\x7f",
    "override": "\u202e",
    "isolate": "\u2066",
    "zero-width space": "\u200b",
    "byte order mark": "\ufeff",
    "line separator": "\u2028",
    "tag": "\U000e0041",
    "lone surrogate": "\ud800",
    "soft hyphen": "\xad",
}


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("clean", [printable, single_line])
def test_output_has_no_character_that_controls_hides_or_cannot_be_encoded(clean, hostile):
    shown = clean(f"cat{hostile}dog")
    assert shown.isprintable() and shown.encode("utf-8")
    assert shown.startswith("cat") and shown.endswith("dog")


@pytest.mark.parametrize(
    "text", ["traffic light", "Fußgänger", "猫", "می\u200cخواهم", "👨\u200d👩\u200d👧", "❤️", "a  b"]
)
def test_names_in_any_script_are_unchanged(text):
    assert printable(text) == text


def test_a_joiner_between_ascii_letters_is_replaced():
    assert printable("ca\u200dt") == "ca?t"


def test_class_names_are_strings_by_number_on_one_line_and_equal_names_stay_equal():
    names = printable_names({"0": "cat\n", 1: 7, 2: "big\tdog", 3: "\x1b[31mred", 4: "\x1b[31mred"})
    assert names == {0: "cat", 1: "7", 2: "big dog", 3: "?[31mred", 4: "?[31mred"}
    assert printable_names(["a", "b\0"]) == {0: "a", 1: "b?"}


def test_a_shortened_text_keeps_its_beginning_and_its_end():
    text = "data x.yaml cannot be used: " + "missing.jpg, " * 40_000 + "give its files, or remove the lines"
    shown = shortened(text)
    assert len(shown) <= 300 and shown.startswith("data x.yaml cannot be used: missing.jpg")
    assert shown.endswith("give its files, or remove the lines") and " ... " in shown
    assert shortened("x" * 300) == "x" * 300
    assert [len(shortened("x" * 999, longest)) for longest in (40, 61, 160)] == [40, 61, 160]


def test_a_long_list_is_its_first_items_and_a_count():
    assert listed(["a.jpg", "b\x1b.jpg"]) == "a.jpg, b?.jpg"
    assert listed((f"{i}.jpg" for i in range(3000)), most=2) == "0.jpg, 1.jpg and 2998 more"
    assert len(listed(["x" * 5000] * 9)) < 300


def test_a_log_record_keeps_its_colours_and_line_breaks_and_no_other_control_characters():
    record = logging.LogRecord(
        "ultralytics", 20, "", 0, "\x1b[34m\x1b[1mtrain: \x1b[0m%s\n\tdone", ("\x1b[2Jcat\x9b",), None
    )
    assert clean_record(record)
    assert record.getMessage() == "\x1b[34m\x1b[1mtrain: \x1b[0m?[2Jcat?\n\tdone"
    hidden = logging.LogRecord("ultralytics", 20, "", 0, "a\x1b[8m50% b", (), None)
    clean_record(hidden)
    assert hidden.getMessage() == "a?[8m50% b"


def test_a_number_of_things_is_in_the_plural_unless_it_is_one():
    assert [counted(number, "frame") for number in (0, 1, 2)] == ["0 frames", "1 frame", "2 frames"]
    assert [counted(number, "class") for number in (0, 1, 2)] == ["0 classes", "1 class", "2 classes"]
