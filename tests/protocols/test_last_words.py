"""What a participant may still be about to say, read off the tables."""

from __future__ import annotations

import pytest

from ontology.acl import AclMessage, Performative
from protocols.registry import PROTOCOLS, TABLES
from protocols.table import Protocol


def acts(*names: str) -> set[Performative]:
    return {Performative(name) for name in names}


GOES_ON = {
    "fipa-request": acts("agree"),
    "fipa-query": acts("agree"),
    "fipa-request-when": acts("agree"),
    "fipa-contract-net": acts("propose"),
    "fipa-iterated-contract-net": acts("propose"),
    "fipa-english-auction": acts("propose"),
    "fipa-dutch-auction": acts("propose"),
    "fipa-subscribe": acts("agree", "inform"),
    "fipa-propose": set(),
    "locution-vote": acts("accept-proposal", "reject-proposal"),
    "fipa-recruiting": acts("agree", "inform"),
}
"""After which acts a participant of a protocol has not said its last word, wherever it says them."""


def what(protocol: Protocol, act: Performative) -> AclMessage:
    return AclMessage(performative=act, protocol=protocol.name, conversation_id="c1")


@pytest.mark.parametrize("name", GOES_ON)
def test_after_what_a_participant_goes_on(name: str) -> None:
    protocol = PROTOCOLS[name]
    assert {act for act in Performative if protocol.goes_on_after(what(protocol, act))} == GOES_ON[name]


def test_a_broker_passes_on_what_it_likes_and_ends_by_what_it_ends_by() -> None:
    protocol = PROTOCOLS["fipa-brokering"]
    goes_on = {act for act in Performative if protocol.goes_on_after(what(protocol, act))}
    assert acts("agree", "inform") <= goes_on
    assert not goes_on & acts("refuse", "failure", "cancel")


def test_who_may_say_the_same_for_ever() -> None:
    unending = {(each.name, act.value) for each in TABLES for act in Performative if each.may_repeat(act)}
    assert unending == {
        ("fipa-subscribe", "inform"),
        ("fipa-brokering", "not-understood"),
        ("locution-vote", "accept-proposal"),
        ("locution-vote", "reject-proposal"),
    }
