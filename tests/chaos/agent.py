"""What the agents of all processes share: where they live, and how they write their history."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from agents.base import LocutionAgent, Ports, Server
from behaviours.contracting import Observer, Proposal
from behaviours.outcomes import Outcome, sentence
from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from ontology.content import Ontology
from resilience.dead_letters import DeadLetter
from resilience.journal import Journal
from resilience.memory import MemoryDeadLetters
from resilience.records import RecordsError
from resilience.redis_store import RedisJournal
from resilience.sqlite_journal import SqliteJournal
from society.keeping import Posted
from tests.chaos.broken import BROKEN
from tests.chaos.faults import unreliable
from tests.chaos.history import History
from tests.chaos.terms import CHAOS, Price, Work


@dataclass(frozen=True, kw_only=True)
class Place:
    """What a process has to know; it is told on its command line."""

    folder: str
    port: int
    journal: str
    """A path, or the address of a Redis server."""
    breaks: str = ""
    duplicate: float = 0.0
    behind: float = 0.0
    reply_within: float = 30.0
    """Seconds that the sender gives a receiver for its first answer."""

    def told(self) -> str:
        """As a command line has it."""
        return json.dumps(vars(self))


async def open_journal(where: str) -> Journal:
    """Open the store that all processes share; a server that is being restarted is waited for."""
    if not where.startswith("redis:"):
        return SqliteJournal(Path(where))
    while True:
        try:
            # A machine under load stalls for longer than the usual quarter of a second.
            return await RedisJournal.open(where, timeout=2.0)
        except RecordsError:
            await asyncio.sleep(0.1)


class Letters(Posted):
    """Dead letters in the journal, and each in the history."""

    def __init__(self, journal: Journal, history: History) -> None:
        super().__init__(journal, MemoryDeadLetters())
        self._history = history

    def add(self, letter: DeadLetter) -> None:
        """Keep a letter."""
        told = {"peer": letter.peer, "cause": letter.cause, "text": letter.text, "id": letter.id}
        self._history.write(
            "buried", conversation_id=letter.conversation_id, is_inbound=letter.is_inbound, **told
        )
        super().add(letter)


class Historian(LocutionAgent):
    """Writes down each message that it hears."""

    ontologies: ClassVar[tuple[Ontology, ...]] = (CHAOS,)

    def __init__(self, *args: Any, history: History, place: Place) -> None:
        super().__init__(*args)
        self.history, self.place, self.folder = history, place, Path(place.folder)

    def _trace(self, message: AclMessage, peer: AgentIdentifier) -> None:
        if message.sender is not None and message.sender.name == peer.name:
            token = ""
            if message.performative is Performative.INFORM and message.content:
                token = json.loads(message.content).get("result", {}).get("token", "")
            act = message.performative.value
            self.history.write(
                "heard", act=act, peer=peer.name, conversation_id=message.conversation_id, token=token
            )
        super()._trace(message, peer)

    async def awarded(
        self, to: Sequence[str], work: Work, *, reply_within: float, result_within: float
    ) -> Outcome | str:
        """Call for proposals and have the cheapest one do it; why nobody was chosen, if so."""
        contract = await self.call_for_proposals(
            to,
            work,
            lambda proposals: sorted(proposals, key=_amount)[:1],
            reply_within=reply_within,
            result_within=result_within,
            observer=Observer(on_award=lambda name: self.history.write("awarded", key=work.key, to=name)),
        )
        outcome = next(iter(contract.awards.values()), None)
        return outcome or "; ".join(sentence(each) for each in contract.declined.values())


def _amount(proposal: Proposal) -> float:
    assert isinstance(proposal.term, Price)
    return proposal.term.amount


async def live(kind: Callable[..., Historian], name: str, life: int, told: str) -> None:
    """Be an agent until somebody ends the process, politely or not."""
    place = Place(**json.loads(told))
    folder = Path(place.folder)
    history = History(folder / "history", name, life)
    journal = await open_journal(place.journal)
    letters = Letters(journal, history)
    kept: Any = BROKEN[place.breaks](journal) if place.breaks and name != "sender" else journal
    ports = Ports(
        hook=history.fact,
        journal=kept,
        dead_letters=letters,
        connect=unreliable(f"{name}{life}", place.duplicate, place.behind),
    )
    server = Server(host="127.0.0.1", port=place.port, ca_file=folder / "authority" / "ca.pem")
    agent = kind(f"{name}@localhost", "secret", server, ports, history=history, place=place)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await agent.start()
    history.write("ready", pid=os.getpid())
    say("ready")
    await stopped.wait()
    history.write("stopping")
    await agent.stop()
    await letters.settled()
    await journal.close()
    history.write("stopped")


def say(word: str) -> None:
    """Tell the orchestrator."""
    sys.stdout.write(word + "\n")
    sys.stdout.flush()
