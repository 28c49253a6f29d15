from __future__ import annotations

import asyncio

import pytest

from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from society.errors import SocietyError
from society.instrument import _replies
from tests.behaviours.fakes import element

OPERATOR, PEER = AgentIdentifier.of("operator@here"), AgentIdentifier.of("peer@here")
RETURNED = (
    '<message type="error" id="s1"><error type="cancel">'
    '<item-not-found xmlns="urn:ietf:params:xml:ns:xmpp-stanzas"/></error></message>'
)


async def replies(*stanzas: tuple[str, str]) -> list[AclMessage]:
    arrived: asyncio.Queue = asyncio.Queue()
    for text, sender in stanzas:
        arrived.put_nowait(element(text, sender))
    message = AclMessage(performative=Performative.REQUEST, receiver=(PEER,))
    return [each async for each in _replies(arrived, message, OPERATOR, {"s1": PEER}, 0.01)]


@pytest.mark.parametrize("sender", ["peer@here", "peer@here/1", "here"])
async def test_a_message_that_comes_back_is_told_with_the_reason(sender):
    told = r"^the message to peer@here came back: there is no such agent \(item-not-found\)$"
    with pytest.raises(SocietyError, match=told):
        await replies((RETURNED, sender))


async def test_nobody_else_can_make_a_message_come_back():
    hello = '<message id="x"><body>{"performative": "inform", "content": "well"}</body></message>'
    found = await replies((RETURNED, "liar@here"), (hello, "peer@here/1"))
    assert [each.content for each in found] == ["well"]
