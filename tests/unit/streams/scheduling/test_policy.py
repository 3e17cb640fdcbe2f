import pytest

from fgd_yolo.errors import UsageError
from fgd_yolo.streams.scheduling.policy import Policy, parse_policy


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("latest", Policy("latest")),
        (" Every ", Policy("every")),
        ("max-age=500", Policy("max-age", 0.5)),
        ("max-age=0.5", Policy("max-age", 0.0005)),
    ],
)
def test_policies_are_read(text, policy):
    assert parse_policy(text) == policy


@pytest.mark.parametrize("text", ["latest", "every", "max-age=500", "max-age=12.5"])
def test_a_policy_prints_as_it_was_written(text):
    assert str(parse_policy(text)) == text


@pytest.mark.parametrize("text", ["", "newest", "latest=5", "every=", "max_age=5", "latest every", None])
def test_an_unknown_policy_is_refused_with_what_is_known(text):
    with pytest.raises(UsageError, match="known are latest, every, max-age=MS"):
        parse_policy(text)


@pytest.mark.parametrize("text", ["max-age", "max-age=", "max-age=0", "max-age=-5", "max-age=nan", "max-age=inf"])
def test_an_age_must_be_a_number_above_zero(text):
    with pytest.raises(UsageError, match="age in milliseconds above 0"):
        parse_policy(text)


def test_a_mistyped_policy_names_the_near_one():
    with pytest.raises(UsageError, match="did you mean 'latest'"):
        parse_policy("lastest")


def test_a_policy_that_is_an_address_by_mistake_shows_no_password():
    with pytest.raises(UsageError) as caught:
        parse_policy("rtsp://admin:hunter2@10.0.0.7/x")
    assert "hunter2" not in str(caught.value) and "rtsp://10.0.0.7" in str(caught.value)
