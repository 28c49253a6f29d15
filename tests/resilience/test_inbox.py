"""`resilience.inbox`: what is not seen through a binding, and what may be a key at all."""

from __future__ import annotations

from dataclasses import replace

import pytest

from resilience import inbox
from resilience.inbox import ID_LIMIT, Hold, InboxKey, Phase, Standing, Terms, digest_of
from resilience.journal import Effects, Policy
from resilience.memory import MemoryJournal
from resilience.outbox import Retrying
from tests.resilience.records import ME, PEER, letter, outgoing, snapshot

TERMS = Terms()
NOW = 1_795_168_800.0


def key(**parts: str) -> InboxKey:
    return InboxKey(**{"receiver": ME, "sender": PEER, "message_id": "m", **parts})


@pytest.mark.parametrize("minutes", [-10, 10])
def test_a_clock_that_jumps_locks_nobody_out_and_lets_none_change_what_is_anothers(minutes):
    entry, _claim = inbox.claim(None, "one", "d", NOW, TERMS)
    later = NOW + minutes * 60
    taken, claim = inbox.claim(entry, "two", "d", later, TERMS)
    assert claim.standing is Standing.TAKEOVER
    assert inbox.held(taken, "one", later) is None
    assert inbox.held(taken, "two", later) == taken


def test_a_clock_that_wobbles_makes_no_takeover():
    entry, _claim = inbox.claim(None, "one", "d", NOW, TERMS)
    assert inbox.claim(entry, "two", "d", NOW - 0.01, TERMS)[1].standing is Standing.BUSY


def test_what_was_forgotten_is_new_whatever_it_was():
    entry, _claim = inbox.claim(None, "one", "d", NOW, TERMS)
    for kept in (entry, inbox.ended(entry, Phase.DEAD, "r", NOW, TERMS)):
        later = NOW + TERMS.retention
        assert inbox.claim(kept, "two", "e", later, TERMS)[1].standing is Standing.NEW
        assert inbox.held(kept, "one", later) is None
        assert not inbox.has_ended(kept, "one", later)


async def test_memory_does_not_grow_for_ever():
    clock = [NOW]
    journal = MemoryJournal(clock=lambda: clock[0])
    for number in range(10):
        await journal.claim(Hold(key=key(message_id=f"{number}"), owner="one"), "d")
    clock[0] += journal.policy.terms.retention / 2
    await journal.commit(Effects(agent=ME), Hold(key=key(message_id="0"), owner="one"))
    clock[0] += journal.policy.terms.retention / 2
    await journal.claim(Hold(key=key(message_id="new"), owner="one"), "d")
    assert [each.message_id for each in journal._entries] == ["0", "new"]


def test_what_a_claim_does_not_change_is_the_very_same():
    entry, _claim = inbox.claim(None, "one", "d", NOW, TERMS)
    for owner, digest, kept in (
        ("two", "d", entry),
        ("one", "e", entry),
        ("one", "d", inbox.ended(entry, Phase.DONE, "r", NOW, TERMS)),
    ):
        assert inbox.claim(kept, owner, digest, NOW, TERMS)[0] is kept


def test_the_lease_is_that_of_the_claim_not_of_whoever_looks():
    entry, _claim = inbox.claim(None, "one", "d", NOW, replace(TERMS, lease=100))
    assert inbox.claim(entry, "two", "d", NOW + 99, replace(TERMS, lease=1))[1].standing is Standing.BUSY


def test_a_lease_is_renewed_three_times():
    assert Terms(lease=30).renew_every == 10


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        (
            {"message_id": "x" * 1_000_000},
            "the message's id is 1,000,000 bytes long, and at most 1,000 are kept",
        ),
        ({"message_id": "ä" * 501}, "the message's id is 1,002 bytes long"),
        ({"message_id": ""}, "the message's id is empty"),
        ({"message_id": "a\ud800"}, "the message's id holds half of a surrogate pair at character 1"),
        ({"sender": ""}, "the sender's JID is empty"),
        ({"sender": "s" * 4_000}, "the sender's JID is 4,000 bytes long"),
        ({"receiver": ""}, "the receiver's JID is empty"),
    ],
)
def test_what_cannot_be_a_key_is_told(parts, told):
    with pytest.raises(ValueError, match=told) as caught:
        key(**parts)
    assert len(str(caught.value)) < 200


def test_the_longest_id_is_one():
    assert len(key(message_id="x" * ID_LIMIT).message_id) == ID_LIMIT


def test_an_owner_has_a_name():
    with pytest.raises(ValueError, match="the owner's token is empty"):
        Hold(key=key(), owner="")


def test_a_digest_tells_bodies_apart():
    assert digest_of("a") == digest_of("a") != digest_of("b")
    assert len(digest_of("\ud800")) == 32


@pytest.mark.parametrize(
    "fields", [{"lease": 0}, {"most_attempts": 0}, {"retention": 8}, {"lease": 10_000}, {"lease": -1}]
)
def test_terms_out_of_range_are_refused(fields):
    with pytest.raises(ValueError, match="must be positive"):
        Terms(**fields)


def test_ids_must_be_remembered_for_longer_than_they_may_come_again():
    Policy(terms=Terms(retention=4_200), retrying=Retrying(life=3_600))
    with pytest.raises(
        ValueError, match=r"its effect could come twice; make the retention at least 4200 s"
    ) as told:
        Policy(terms=Terms(retention=4_199), retrying=Retrying(life=3_600))
    assert "remembered for 4199 s, but a message may be sent again for 3600 s" in str(told.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"put": (snapshot(agent=PEER),)},
        {"send": (outgoing(agent=PEER),)},
        {"tried": (outgoing(agent=PEER),)},
        {"bury": (letter(agent=PEER),)},
    ],
)
def test_a_commit_holds_records_of_one_agent(fields):
    with pytest.raises(ValueError, match="a commit of adder@localhost holds records of asker@localhost"):
        Effects(agent=ME, **fields)


@pytest.mark.parametrize(
    "fields", [{"reply": "\udfff"}, {"remove": ("",)}, {"settled": ("\udfff",)}, {"drop": ("x" * 10_001,)}]
)
def test_a_commit_holds_what_can_be_kept(fields):
    with pytest.raises(ValueError, match=r"is empty|surrogate|bytes long"):
        Effects(agent=ME, **fields)
