"""`resilience.outbox`: when a message is sent again, and when no more."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience.outbox import Due, Outgoing, Retrying, due, posted, settles, tried, wait
from resilience.records import FormError
from tests.resilience.records import ME, NOW, PEER, outgoing

RETRYING = Retrying()


def post(reply_by: datetime | None = None, retrying: Retrying = RETRYING) -> Outgoing:
    return posted(agent=ME, id="o", to=PEER, message="{}", now=NOW, reply_by=reply_by, retrying=retrying)


def test_a_message_is_sent_at_once_then_after_1_2_4_and_8_seconds_then_no_more():
    message, now, waits = post(), NOW, []
    while due(message, now, RETRYING) is Due.NOW:
        message = tried(message, now, lambda: 1.0, RETRYING)
        waits.append(wait(message, now, RETRYING))
        assert due(message, now, RETRYING) is Due.LATER
        now += timedelta(seconds=waits[-1])
    assert waits == [1, 2, 4, 8, 8]
    assert due(message, now, RETRYING) is Due.EXHAUSTED
    assert message.attempts == 5


@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=5, max_size=5))
def test_jitter_shortens_each_wait_by_at_most_half(draws):
    message, now, full = post(), NOW, (1, 2, 4, 8, 8)
    for number, drawn in enumerate(draws):
        message = tried(message, now, lambda drawn=drawn: drawn, RETRYING)
        assert full[number] / 2 <= wait(message, now, RETRYING) <= full[number]
        now += timedelta(seconds=wait(message, now, RETRYING))


def test_what_cannot_be_handed_over_waits_until_it_expires():
    message = post()
    assert due(message, NOW + timedelta(seconds=3_599), RETRYING) is Due.NOW
    assert due(message, NOW + timedelta(seconds=3_600), RETRYING) is Due.EXPIRED


def test_nobody_sends_what_nobody_waits_for():
    message = post(reply_by=NOW + timedelta(seconds=0.5))
    message = tried(message, NOW, lambda: 1.0, RETRYING)
    assert wait(message, NOW, RETRYING) == 0.5
    assert due(message, NOW + timedelta(seconds=0.4), RETRYING) is Due.LATER
    assert due(message, NOW + timedelta(seconds=0.5), RETRYING) is Due.EXPIRED
    assert post(reply_by=NOW + timedelta(days=1)).expires == NOW + timedelta(hours=1)


def test_a_clock_that_was_set_back_delays_a_message_by_no_more_than_the_longest_wait():
    message = tried(post(), NOW, lambda: 1.0, RETRYING)
    back = NOW - timedelta(minutes=10)
    assert wait(message, back, RETRYING) == RETRYING.most
    assert wait(message, NOW + timedelta(minutes=10), RETRYING) == 0


def test_only_the_receiver_acknowledges():
    assert settles(outgoing(), PEER)
    assert not settles(outgoing(), "mallory@localhost")
    assert not settles(outgoing(), ME)


def test_every_number_can_be_chosen():
    retrying = Retrying(first=0.1, most=0.2, attempts=2, life=1)
    message = tried(post(retrying=retrying), NOW, lambda: 1.0, retrying)
    message = tried(message, NOW, lambda: 1.0, retrying)
    assert wait(message, NOW, retrying) == pytest.approx(0.2)
    assert due(message, NOW + timedelta(seconds=0.3), retrying) is Due.EXHAUSTED
    assert due(message, NOW + timedelta(seconds=1), retrying) is Due.EXPIRED


@pytest.mark.parametrize("fields", [{"first": 0}, {"first": 9}, {"attempts": 0}, {"life": 7}, {"most": 0.5}])
def test_numbers_out_of_range_are_refused(fields):
    with pytest.raises(ValueError, match="must be positive"):
        Retrying(**fields)


def test_it_comes_back_from_json_as_it_was():
    message = outgoing(message="\x00\ud800 ä", conversation="c", attempts=3)
    assert Outgoing.from_json(message.to_json()) == message


def test_what_version_0_1_wrote_is_read():
    text = (
        '{"v":1,"agent":"adder@localhost","id":"o1","to":"asker@localhost","message":"{}","conversation":"c",'
        '"made":"2026-11-20T12:00:00.123456+00:00","expires":"2026-11-20T13:00:00.123456+00:00","attempts":2,'
        '"next_try":"2026-11-20T12:00:00.123456+00:00"}'
    )
    assert Outgoing.from_json(text) == outgoing(message="{}", conversation="c", attempts=2)


def test_a_newer_form_is_refused_in_one_sentence():
    text = json.dumps({**json.loads(outgoing().to_json()), "v": 3})
    with pytest.raises(FormError) as caught:
        Outgoing.from_json(text)
    assert str(caught.value) == (
        "an outgoing message was written in form 3 by a newer version of Locution, "
        "and this one reads form 2; update Locution"
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{}",
        '{"v":"1"}',
        '{"v":0}',
        '{"v":1}',
        "[" * 100_000,
        outgoing().to_json().replace("2026", "x"),
        outgoing().to_json().replace('"to"', '"too"'),
        outgoing().to_json().replace('"o1"', "null"),
        outgoing().to_json().replace("+00:00", ""),
    ],
)
def test_what_is_none_is_told(text):
    with pytest.raises(FormError, match="an outgoing message was expected where there is"):
        Outgoing.from_json(text)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"message_id": "x" * 1_000_000}, "the message's id is 1,000,000 bytes long"),
        ({"to": ""}, "the receiver's JID is empty"),
        ({"agent": ""}, "the sender's JID is empty"),
        ({"conversation": "\ud800"}, "the conversation's key holds half of a surrogate pair"),
        ({"made": NOW.replace(tzinfo=None)}, "has no zone"),
    ],
)
def test_what_cannot_be_kept_is_refused(fields, told):
    with pytest.raises(ValueError, match=told):
        outgoing(**fields)
