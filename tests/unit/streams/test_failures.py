from fgd_yolo.errors import FGDError
from fgd_yolo.streams.failures import LIMIT, Failures


def test_each_kind_is_said_once(capsys):
    failures = Failures()
    failures.note("door", ValueError("bad\nshape"))
    failures.note("yard", ValueError("another shape"))
    failures.note("yard", KeyError("x"))
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert said[0] == "door: a frame is dropped, ValueError: bad shape (counted; not said again)"
    assert "yard" in said[1] and "KeyError" in said[1]


def test_passwords_are_not_said(capsys):
    Failures().note("door", ValueError("cannot read rtsp://admin:geheim@10.0.0.7/cam"))
    assert "geheim" not in capsys.readouterr().err


def test_a_hundred_in_a_row_are_enough_and_said_once():
    failures = Failures()
    found = [failures.note("door", ValueError("bad shape")) for _ in range(2 * LIMIT)]
    assert LIMIT == 100
    assert [index for index, error in enumerate(found) if error] == [99]
    assert isinstance(found[99], FGDError)
    assert "100 frames in a row: bad shape" in str(found[99])


def test_a_frame_that_goes_well_starts_the_count_again():
    failures = Failures()
    for _ in range(5):
        assert not any(failures.note("door", ValueError()) for _ in range(99))
        failures.went_well()
