"""`behaviours.duplicates`: a second copy is told from a new message, and memory is bounded."""

from __future__ import annotations

from behaviours.duplicates import Seen
from ontology.acl import AclMessage, Performative

HELLO = AclMessage(performative=Performative.INFORM, content="hello")


def test_the_same_message_of_the_same_sender_under_the_same_id_is_a_second_copy() -> None:
    seen = Seen()
    assert not seen.is_second("a@b/1", "id1", HELLO)
    assert seen.is_second("a@b/1", "id1", HELLO)
    assert not seen.is_second("a@b/2", "id1", HELLO)
    assert not seen.is_second("a@b/1", "id2", HELLO)
    assert not seen.is_second("a@b/1", "id1", HELLO.model_copy(update={"content": "good-bye"}))


def test_the_oldest_are_forgotten() -> None:
    seen = Seen(most=3)
    for number in range(4):
        assert not seen.is_second("a@b", str(number), HELLO)
    assert not seen.is_second("a@b", "0", HELLO)
    assert seen.is_second("a@b", "3", HELLO)
