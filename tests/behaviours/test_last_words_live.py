"""A conversation is over, its process dies before anybody hears of it, and something of it comes again."""

from __future__ import annotations

import pytest

from behaviours.events import ConversationEnded
from behaviours.receipts import MARK, Receipts
from behaviours.receipts import render as receipts_for
from behaviours.wire import render
from ontology.acl import AclMessage, Performative
from ontology.codecs import from_json
from ontology.content import LANGUAGE
from resilience.journal import Policy
from resilience.memory import MemoryJournal
from resilience.outbox import Retrying
from tests.behaviours.puppets import Puppet
from tests.behaviours.samples import SUMS, Add, Adder
from tests.behaviours.test_enduring_live import die, nothing_is_left
from tests.conftest import World, becomes


@pytest.fixture
def journal() -> MemoryJournal:
    return MemoryJournal(Policy(retrying=Retrying(first=0.05, most=0.2, attempts=20)))


def call() -> AclMessage:
    """A call for proposals."""
    return AclMessage(
        performative=Performative.CFP,
        content=SUMS.render(Add(a=1, b=2)),
        language=LANGUAGE,
        ontology=SUMS.label,
        protocol="fipa-contract-net",
        conversation_id="net",
        reply_with="r1",
    )


def settle(manager: Puppet, agent: Adder, **receipts: tuple[str, ...]) -> None:
    """Say what has become of what an agent has said."""
    for stanza in receipts_for(agent.me.jid, Receipts(**receipts)):
        manager.write(stanza)


@pytest.mark.parametrize("word", [Performative.ACCEPT_PROPOSAL, Performative.CANCEL])
async def test_what_comes_again_while_the_last_word_is_on_its_way_is_a_copy(
    world: World, journal: MemoryJournal, word: Performative
) -> None:
    manager = await Puppet.start(world, "manager")
    first = await world.start(Adder, "adder", journal=journal)
    manager.write(render(call(), first.me.jid, "m1", mark=MARK))
    offer = await manager.hear(Performative.PROPOSE)
    first.enduring.outbox._hand_over = lambda _message_id: None  # type: ignore[method-assign]
    first.enduring.acknowledging._send = lambda _stanza: None
    accept = offer.reply(Performative.ACCEPT_PROPOSAL, reply_with="r2")
    manager.write(render(accept, first.me.jid, "m2", mark=MARK))
    await world.fact(ConversationEnded, agent=first.me.name, state="DONE")
    await first.enduring.journaling.settled()
    await die(first)
    second = await world.start(Adder, "adder", journal=journal)
    again = accept if word is Performative.ACCEPT_PROPOSAL else offer.reply(word, reply_with="r3")
    message_id = "m2" if again is accept else "m3"
    manager.write(render(again, second.me.jid, message_id, mark=MARK))
    await becomes(lambda: second.enduring.acknowledging._known.get((manager.jid.name, message_id)) is True)
    assert not second.started.is_set(), "it is done once"
    left = await journal.outgoing(second.me.name)
    (inform,) = [each.id for each in left if from_json(each.message).performative is Performative.INFORM]
    settle(manager, second, missing=(inform,))
    assert (await manager.hear(Performative.INFORM)).conversation_id == "net"
    settle(manager, second, acknowledged=tuple(each.id for each in left))
    await nothing_is_left(journal, "adder")
    await manager.hears_nothing(second.me)


async def test_once_the_last_word_has_arrived_it_is_out_of_sequence(
    world: World, journal: MemoryJournal
) -> None:
    """Whoever says it then knows how the conversation ended, and goes on all the same."""
    manager = await Puppet.start(world, "manager")
    adder = await world.start(Adder, "adder", journal=journal)
    manager.write(render(call(), adder.me.jid, "m1", mark=MARK))
    accept = (await manager.hear(Performative.PROPOSE)).reply(Performative.ACCEPT_PROPOSAL, reply_with="r2")
    manager.write(render(accept, adder.me.jid, "m2", mark=MARK))
    await manager.hear(Performative.INFORM)
    settle(manager, adder, acknowledged=tuple(each.id for each in await journal.outgoing(adder.me.name)))
    await nothing_is_left(journal, "adder")
    await adder.enduring.journaling.settled()
    await die(adder)
    adder = await world.start(Adder, "adder", journal=journal)
    manager.write(render(accept, adder.me.jid, "m3", mark=MARK))
    await manager.hear(Performative.NOT_UNDERSTOOD)
