"""`behaviours.wording`: whoever writes in a form that it reads is answered in that."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from behaviours.handlers import Handlers
from behaviours.wire import FORM_TITLE, render
from behaviours.wording import Wording
from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from tests.behaviours.fakes import Scene, element, incoming, turns

INFORM = AclMessage(performative=Performative.INFORM)
NO_ADDER = '{"performative": "request", "conversation-id": "c1", "content": {"add": {}}}'


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    made = Scene(Handlers())
    yield made
    await made.close()


def written(body: str) -> str:
    return f"<message id='1'><body>{body}</body></message>"


def test_a_peers_form_is_the_one_that_it_wrote_in_last() -> None:
    wording = Wording(most=2)
    ann = [AgentIdentifier.of(f"ann@here/{client}") for client in ("phone", "desk", "tablet")]
    in_json = '<message><body>{"performative": "inform"}</body></message>'
    for each in ann:
        wording.note(incoming(in_json, each.jid))
    assert [wording.of(each) for each in ann] == ["spade", "json", "json"]  # the oldest is forgotten
    wording.note(incoming(render(INFORM, "me@here", "1"), ann[1].jid))
    wording.note(incoming('<message type="error"/>', ann[2].jid))
    wording.note(None)
    wording.note(incoming("<message><body>(inform)</body></message>", ann[0].jid))
    assert [wording.of(each) for each in ann] == ["string", "spade", "json"]
    assert wording.of(AgentIdentifier(name="ann@here")) == "spade"


async def test_an_agent_answers_each_client_in_its_own_form(scene: Scene) -> None:
    phone, desk = (AgentIdentifier.of(f"ann@here/{client}") for client in ("phone", "desk"))
    request = AclMessage(performative=Performative.REQUEST, content='{"add": {}}')
    await scene.hear_stanza(written(NO_ADDER), phone)
    await scene.hear(request, desk)
    await scene.hear_stanza(written(NO_ADDER).replace("'1'", "'2'"), phone)
    answers = [element(each) for each in scene.transport.sent]
    assert [each.get("to") for each in answers] == [phone.jid, desk.jid, phone.jid]
    for each in answers[::2]:
        told = json.loads(each.findtext("{jabber:client}body") or "")
        assert (told["performative"], told["conversation-id"]) == ("refuse", "c1")
        assert "add" in told["content"]["reason"]["text"]
        assert [child.tag for child in each if "delivery" not in child.tag] == ["{jabber:client}body"]
    assert answers[1].findtext("{jabber:x:data}x/{jabber:x:data}title") == FORM_TITLE


async def test_what_has_waited_for_a_connection_is_in_the_same_form(scene: Scene) -> None:
    scene.transport.is_online = False
    await scene.hear_stanza(written(NO_ADDER))
    assert scene.transport.sent == []
    scene.transport.is_online = True
    scene.delivery.came_online()
    await turns()
    (answer,) = scene.transport.sent
    assert json.loads(element(answer).findtext("{jabber:client}body") or "")["performative"] == "refuse"
