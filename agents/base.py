"""What every agent of ours is: a SPADE agent that converses.

`LocutionAgent` is `spade.agent.Agent` with a mailroom, a delivery and a supervisor. A subclass marks
its methods with `@on`, `@bids` and `@hears`, and asks others with `request` and `call_for_proposals`.
Behaviours of plain SPADE run beside that and get every message that no handler wants.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from spade.agent import Agent
from spade.behaviour import CyclicBehaviour, FSMBehaviour, PeriodicBehaviour, TimeoutBehaviour
from spade.message import Message
from spade.presence import PresenceManager

from agents.grouped import Grouped
from agents.speaking import Speaker
from behaviours.authorising import Authority
from behaviours.authority import Policy
from behaviours.clocking import system_now
from behaviours.connection import XmppConnection
from behaviours.delivery import Delivery
from behaviours.enduring import Enduring
from behaviours.events import Connected, Disconnected, Fact, Hook, ignore
from behaviours.handlers import Handlers
from behaviours.introducing import Introducing
from behaviours.living import MAIN, checked
from behaviours.mailroom import Mailroom
from behaviours.outcomes import Answer, Refuse
from behaviours.participating import Participation
from behaviours.pubsub import Line
from behaviours.queueing import Turns
from behaviours.receiving import Receiving
from behaviours.signing import SigningKey
from behaviours.supervising import Supervisor
from behaviours.topics import Topics
from behaviours.transport import ConnectionFailed, Transport
from behaviours.vouching import KeyRing, Known, nobody
from behaviours.wire import Element, as_spade_stanza
from ontology.acl import AclMessage
from ontology.aid import AgentIdentifier
from ontology.errors import Cause
from ontology.management import Replay
from resilience.dead_letters import DeadLetters
from resilience.election import Lock
from resilience.journal import Journal
from resilience.memory import MemoryDeadLetters, MemoryJournal, MemoryLock, MemoryRecords
from resilience.records import Records

TRACED = 2000
"""Characters of a content that the dashboard shows; SPADE keeps a thousand messages of each agent."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """Where the XMPP server is and whom to believe."""

    host: str
    port: int = 5222
    ca_file: Path | None = None
    """The authority that signed the server's certificate; None trusts the system's."""
    verify: bool = True
    """False accepts any certificate: for experiments on one machine only."""
    auto_register: bool = False
    """Whether to make the account if there is none, where the server lets one (XEP-0077)."""


class Connection(Transport, Line, Protocol):
    """What an agent needs of its session with the server; beside that, SPADE calls it a client."""

    async def open(self) -> None:
        """Log in.

        Raises:
            ConnectionFailed: no session came to stand; one sentence says why.
        """

    async def close(self) -> None:
        """Log out; safe to call again."""


@dataclass(frozen=True, kw_only=True)
class Ports:
    """The collaborators of an agent. Every default keeps everything in memory."""

    hook: Hook = ignore
    dead_letters: DeadLetters = field(default_factory=MemoryDeadLetters)
    records: Records = field(default_factory=MemoryRecords)
    lock: Lock = field(default_factory=MemoryLock)
    journal: Journal = field(default_factory=MemoryJournal)
    """Where conversations and messages on their way are written down."""
    replica: str = MAIN
    """Which replica of the agent this process is; each has a name of its own, and the same at each start. It
    is the resource of its JID where the journal survives: of two with one name the server keeps the newer."""
    clock: Callable[[], datetime] = system_now
    connect: Callable[..., Connection] = XmppConnection
    """Makes the session; it is called as `XmppConnection` is. A simulation brings its own."""
    record: Callable[[AclMessage], None] = lambda _message: None
    """Shown every message that the agent sends, and what the platform says of those that are lost."""
    policy: Policy | None = None
    """Who may say what to the agent; by default its own domain everything, and others nothing."""
    key: SigningKey | None = None
    """What the agent signs all that it says with; by default it does not."""
    keys: Known = nobody
    """The public keys of others that are known for certain, by bare JID."""
    operator: str | None = None
    """The bare JID of the one who may have dead letters replayed; by default nobody may."""

    def __post_init__(self) -> None:
        checked(self.replica)


class LocutionAgent(Speaker, Grouped, Agent):
    """A SPADE agent that holds FIPA conversations.

    Args:
        jid: bare JID; with a resource, the session has exactly that one.
        password: of the account.
        server: where to log in.
        ports: collaborators.
    """

    def __init__(self, jid: str, password: str, server: Server, ports: Ports | None = None) -> None:
        # SPADE 4.1.4: its container makes uvloop the policy of the whole process, under which a loop that
        # runs already cannot start child processes any more.
        policy = asyncio.get_event_loop_policy()
        super().__init__(jid, password, port=server.port, verify_security=server.verify)
        asyncio.set_event_loop_policy(policy)
        # SPADE 4.1.4: agents in one process hand each other the very same mutable object, past all
        # validation. Not being in the container, we are written to over XMPP by every agent.
        self.container.unregister(self.jid)
        self.server = server
        self.ports = ports or Ports()
        self.me = AgentIdentifier(name=self.jid.bare)
        ring = KeyRing(self.me.name, self.ports.keys, self.ports.records, self.emit)
        self.authority = Authority(self.me, self.ports.policy, ring, hook=self.emit, clock=self.ports.clock)
        self.connection: Connection | None = None
        self.stopped_because: str | None = None
        """Why the agent stopped by itself; None while it runs or when it was asked to."""
        self.supervisor = Supervisor(self.me.name, self.add_behaviour, self._give_up, self.emit)
        self._submitted: set[asyncio.Task[Any]] = set()
        self._stopping: asyncio.Task[None] | None = None

    # -- for subclasses ----------------------------------------------------------------------

    async def on_ready(self) -> None:
        """Do what has to be done once the agent is connected and can converse. Override it."""

    async def on_stop(self) -> None:
        """Do what has to be done before the agent ends, connected or not. Override it."""

    async def _hook_after_ready(self) -> None:
        """What our own kinds of agent do after `on_ready`, so that an override of that needs no super()."""

    async def _hook_after_stop(self) -> None:
        """What our own kinds of agent do after `on_stop`, also where that has raised."""

    async def find_key(self, peer: AgentIdentifier) -> str | None:
        """Ask somebody for the public key of an agent that has signed what it says. Override it."""
        return None

    def emit(self, fact: Fact) -> None:
        """Tell the hook."""
        self.ports.hook(fact)

    @property
    def is_connected(self) -> bool:
        """Whether a session with the server stands now; `is_alive` only says that nobody stopped us."""
        return self.connection is not None and self.connection.is_online

    # -- life --------------------------------------------------------------------------------

    async def _async_start(self, auto_register: bool = True) -> None:
        # SPADE 4.1.4: its own start neither verifies certificates, nor takes a host apart from the
        # domain, nor reconnects, nor sees stanzas without body; so it is replaced as a whole.
        self._stopping = None
        await self._hook_plugin_before_connection()
        stanzas = Turns()
        self.introducing = Introducing(self.me, self.authority, self.find_key, stanzas.put_nowait)
        connection = self.ports.connect(
            self._address(),
            self.password,
            host=self.server.host,
            port=self.server.port,
            ca_file=self.server.ca_file,
            verify=self.server.verify,
            auto_register=self.server.auto_register and auto_register,
            on_message=self.introducing.take,
            on_online=self._came_online,
            on_offline=self._went_offline,
            on_fatal=self._give_up,
        )
        self.client = self.connection = connection
        self.presence = PresenceManager(agent=self, approve_all=False)
        self.delivery = Delivery(self.me, connection, self.emit, clock=self.ports.clock, sign=self._signed)
        self.enduring = Enduring(
            me=self.me,
            journal=self.ports.journal,
            delivery=self.delivery,
            send=self._send_or_drop,
            hook=self.emit,
            clock=self.ports.clock,
            monotonic=asyncio.get_running_loop().time,
            replica=self.ports.replica,
        )
        handlers = Handlers.of(self)
        if self.ports.operator is not None:
            handlers = replace(handlers, on={**handlers.on, Replay: self._replay})
        self.mailroom = Mailroom(
            me=self.me,
            transport=connection,
            delivery=self.delivery,
            handlers=handlers,
            ontologies=self.understood,
            hook=self.emit,
            dead_letters=self.ports.dead_letters,
            authority=self.authority,
            enduring=self.enduring,
            otherwise=self._offer_to_spade,
            trace=self._trace,
            clock=self.ports.clock,
        )
        self.topics = Topics(self.me, connection, self.understood, hook=self.emit, trace=self._trace)
        await connection.open()
        await self._hook_plugin_after_connection()
        await self.setup()
        self._alive.set()
        for behaviour in self.behaviours:
            if not behaviour.is_running:
                # It was added before there was a presence that it could be given.
                behaviour.set_agent(self)
                for state in behaviour.get_states().values() if isinstance(behaviour, FSMBehaviour) else ():
                    state.set_agent(self)
                behaviour.start()
        await self.mailroom.restore()
        self.submit(self.enduring.journaling.renewing())
        self.supervisor.start(lambda: Receiving(self.mailroom, stanzas), is_vital=True)
        await self.topics.serve(handlers.reads)
        await self.on_ready()
        if self.is_alive():  # else it has stopped itself
            await self._hook_after_ready()

    def _address(self) -> str:
        """The full JID to log in with: the former one, where what we did under it is written down.

        Peers look after that one. Where nothing is, they are not to mistake us for the one that they know.
        """
        if self.jid.resource:
            return str(self.jid)
        resource = self.ports.replica if self.ports.journal.survives else secrets.token_hex(4)
        return f"{self.jid.bare}/{resource}"

    async def _async_stop(self) -> None:
        try:
            if self.is_alive():
                if not self.is_connected:
                    self.enduring.outbox.leave()
                    self.delivery.close()  # what is said from now on fails at once, instead of waiting
                    self.topics.close()
                try:
                    await self.on_stop()
                finally:
                    for group in self.groups.values():
                        await group.leave()
                    await self._hook_after_stop()
        finally:
            await self._shut_down()

    async def _shut_down(self) -> None:
        self.supervisor.close()
        if hasattr(self, "mailroom"):
            self.introducing.close()
            await self.enduring.close()
            self.mailroom.close()
            self.delivery.close()
            self.topics.close()
        for behaviour in self.behaviours:
            behaviour.kill()
        # SPADE 4.1.4: a behaviour that waits for something never notices that it was killed.
        for task in self._submitted - {asyncio.current_task()}:
            task.cancel()
        await asyncio.gather(*self._submitted - {asyncio.current_task()}, return_exceptions=True)
        if hasattr(self, "mailroom"):
            await self.mailroom.closed()
            await self.topics.closed()
        if self.connection is not None:
            await self.connection.close()
        if self.web.is_started() and self.web.runner is not None:
            await self.web.runner.cleanup()
        self._alive.clear()

    async def _replay(self, action: Replay, task: Participation) -> Answer:
        """Replay a dead letter for the operator, whatever the rules allow others."""
        if task.initiator.name != self.ports.operator:
            text = f"only the operator, {self.ports.operator}, may have dead letters replayed"
            return Refuse(Cause.UNAUTHORISED, text)
        return await self.mailroom.replaying.replay(self.me.name, action.letter, again=action.again)

    def _send_or_drop(self, stanza: str) -> None:
        """Write what is of no use later, if it can be written now."""
        if self.connection is not None:
            with suppress(ConnectionFailed):
                self.connection.hand_over(stanza)

    def _signed(self, message: AclMessage, to: AgentIdentifier, stanza_id: str) -> AclMessage:
        """What we say, as it travels."""
        if self.ports.key is None:
            return message
        now = self.ports.clock()
        return self.ports.key.sign(message, stanza_id=stanza_id, sender=self.me, receiver=to, now=now)

    def submit(self, coro: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a coroutine until it ends or the agent stops."""
        task = asyncio.get_running_loop().create_task(coro)
        self._submitted.add(task)
        task.add_done_callback(self._submitted.discard)
        return task

    def remove_behaviour(self, behaviour: CyclicBehaviour) -> None:
        """Forget a behaviour; the supervisor learns of it."""
        super().remove_behaviour(behaviour)
        self.supervisor.ended(behaviour)

    def _came_online(self, jid: str) -> None:
        self.emit(Connected(agent=self.me.name, jid=jid))
        self.delivery.came_online()

    def _went_offline(self, reason: str) -> None:
        self.emit(Disconnected(agent=self.me.name, reason=reason))

    async def stop(self) -> None:
        """Stop the agent. Safe to call again, and from its own handlers and behaviours, which end by it."""
        if self._stopping is None:
            self._stopping = asyncio.get_running_loop().create_task(self._async_stop())
        await asyncio.shield(self._stopping)

    def _give_up(self, reason: str) -> None:
        """Stop for a reason that lies outside: SPADE's `wait_until_finished` then returns."""
        self.stopped_because = reason
        self.emit(Disconnected(agent=self.me.name, reason=reason))
        if self._stopping is None:
            self._stopping = asyncio.get_running_loop().create_task(self._async_stop())

    def _offer_to_spade(self, stanza: Element) -> bool:
        """Give a message to the plain SPADE behaviours whose template matches; False if none does."""
        others = [each for each in self.behaviours if not isinstance(each, Receiving)]
        if not others:
            return False
        message = Message.from_node(as_spade_stanza(stanza, self.client))
        takers = [each for each in others if _listens(each) and each.match(message)]
        for behaviour in takers:
            self.submit(behaviour.enqueue(message))
        return bool(takers)

    def _trace(self, message: AclMessage, peer: AgentIdentifier) -> None:
        """Have what we said recorded, and show a message on SPADE's dashboard, where it runs."""
        sender = message.sender
        is_said = sender is self.me or sender == self.me  # what comes in bears an address, even from us
        if is_said or (message.receiver == (self.me,) and sender != peer):  # or is told of what was lost
            self.ports.record(message)
        if not self.web.is_started():
            return
        is_ours = message.sender is not None and message.sender.is_same_agent(self.me)
        shown = Message(
            to=peer.jid if is_ours else self.me.name,
            sender=self.me.name if is_ours else peer.jid,
            body=(message.content or "")[:TRACED],
            thread=message.conversation_id,
            metadata={"performative": message.performative.value, "protocol": message.protocol or ""},
        )
        shown.sent = is_ours
        self.traces.append(shown, category=f"{message.protocol or 'no protocol'}")


def _listens(behaviour: CyclicBehaviour) -> bool:
    # SPADE 4.1.4: without a template everything matches, so a heartbeat would swallow, in a mailbox that
    # nobody reads, each message that its sender should be told about.
    return behaviour.template is not None or not isinstance(behaviour, PeriodicBehaviour | TimeoutBehaviour)
