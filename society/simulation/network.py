"""A network and an XMPP server in memory, which lose, double, reorder and delay as a seed has it.

What becomes of a stanza is decided by the rules of the embedded server (`society.xmpp_server.router`):
bounces, offline storage, pings, topics. So there is no second opinion of what XMPP is. This is the way::

    client --- Stream ---> server of the client --- link ---> server of the peer --- Stream ---> peer

A stream is one TCP connection: it is in order and loses nothing until it breaks; then it loses what is under
way. Between the servers of two accounts, as if each were another's, goes a link, and there is where faults
are: what federation and servers that send again do to messages and pings. What a server says itself comes
by the stream alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random

from behaviours.events import Fact
from society.simulation.happenings import Doubled, Dropped, Overtaken
from society.simulation.machine import now
from society.simulation.streams import DOMAIN, Client, Pipe, Stream
from society.simulation.virtual_time import VirtualLoop
from society.xmpp_server.accounts import MemoryAccounts
from society.xmpp_server.errors import StanzaError, StreamError
from society.xmpp_server.limits import Limits
from society.xmpp_server.offline import MemoryOffline
from society.xmpp_server.pubsub_nodes import MemoryNodes
from society.xmpp_server.registration import Registration
from society.xmpp_server.rosters import MemoryRosters
from society.xmpp_server.router import Router
from society.xmpp_server.stanzas import Stanza
from society.xmpp_server.switchboard import Switchboard

Record = Callable[[Fact], None]


@dataclass(frozen=True, kw_only=True)
class Faults:
    """What may befall a stanza, each as a probability between 0 and 1.

    Raises:
        ValueError: something is no probability, or no span of time.
    """

    drop: float = 0.0
    """It is lost on its link."""
    duplicate: float = 0.0
    """It is sent on twice."""
    reorder: float = 0.0
    """It is held back for up to `late` seconds, and what follows it goes before it."""
    cut: float = 0.0
    """The connection of the one that writes it breaks in that moment."""
    delay: tuple[float, float] = (0.001, 0.02)
    """The least and the most seconds that a link takes; in order, unless reordered."""
    late: float = 1.0

    def __post_init__(self) -> None:
        for name in ("drop", "duplicate", "reorder", "cut"):
            chance = getattr(self, name)
            if not 0 <= chance <= 1:
                raise ValueError(f"Faults.{name} is a probability between 0 and 1, not {chance!r}")
        if not (0 <= self.delay[0] <= self.delay[1] and self.late >= 0):
            raise ValueError(
                "Faults.delay is (least, most), and like Faults.late seconds that are not negative"
            )


class Network:
    """Everything between the agents.

    Args:
        loop: its time.
        rng: of all that is left to chance.
        faults: of every link that has none of its own.
        record: gets the facts.
    """

    def __init__(self, loop: VirtualLoop, rng: Random, faults: Faults, record: Record) -> None:
        self.loop, self.rng, self.record = loop, rng, record
        self.limits = Limits()
        self.faults = faults
        self.faults_between: dict[tuple[str, str], Faults] = {}
        """By the names of the sender and the receiver."""
        self._walls: list[tuple[frozenset[str], frozenset[str]]] = []
        self._streams: dict[str, Stream] = {}
        self._kept_away: dict[str, float] = {}
        self._links: dict[tuple[str, str], Pipe[_Passing]] = {}
        self._accounts = MemoryAccounts()
        switchboard = Switchboard(DOMAIN)
        self.router = Router(
            switchboard,
            accounts=self._accounts,
            offline=MemoryOffline(),
            rosters=MemoryRosters(),
            nodes=MemoryNodes(),
            registration=Registration(self._accounts, is_open=False),
            limits=self.limits,
            clock=lambda: now(loop),
            version="simulated",
        )

    @property
    def cuts(self) -> float:
        """How probable it is that a connection breaks at a stanza."""
        return self.faults.cut

    # -- accounts and connections --------------------------------------------------------------

    def add_account(self, name: str) -> None:
        """Make an account, whose password nobody asks for."""
        self._accounts.set_password(name, "simulated")

    def connect(self, client: Client, jid: str, name: str) -> Stream | None:
        """Open a stream for a full JID; None while the process of that name is kept away.

        Raises:
            StanzaError: there may be no such session.
        """
        account, _, rest = jid.partition("@")
        if account not in self._accounts:
            raise StanzaError("item-not-found", f"there is no account {account}@{DOMAIN}")
        if self._kept_away.get(name, 0.0) > self.loop.time():
            return None
        self._streams[name] = stream = Stream(self, client, account, rest.partition("/")[2])
        return stream

    def cut(self, name: str, seconds: float) -> None:
        """Break the newest connection of a process, and let it have none for so long."""
        self._kept_away[name] = self.loop.time() + seconds
        if name in self._streams:
            self._streams[name].cut()

    # -- links ---------------------------------------------------------------------------------

    def partition(self, some: Iterable[str], others: Iterable[str]) -> None:
        """Lose from now on what goes between two groups of accounts, until `heal`."""
        self._walls.append((frozenset(some), frozenset(others)))

    def heal(self) -> None:
        """Take down all walls."""
        self._walls.clear()

    def mend(self) -> float:
        """Take down all walls, keep nobody away and have no faults any more.

        Returns:
            The most seconds that anything can still be held back.
        """
        self.heal()
        self._kept_away.clear()
        latest = max(each.delay[1] + each.late for each in (self.faults, *self.faults_between.values()))
        self.faults_between.clear()
        self.faults = Faults()
        return latest

    def receive(self, stream: Stream, stanza: Stanza, text: str) -> None:
        """Take what a client has written: for the server, or for somebody else's."""
        to = stanza.attributes.get("to", "").partition("/")[0]
        passing = _Passing(stream, stanza)
        if "@" in to and to != stream.account and stanza.kind in {"message", "iq"}:
            self._send_on(passing, (stream.account.partition("@")[0], to.partition("@")[0]), text)
        else:
            self._route(passing)

    def _send_on(self, passing: _Passing, link: tuple[str, str], text: str) -> None:
        faults, rng, sender = self.faults_between.get(link, self.faults), self.rng, passing.stream.account
        if any((link[0] in a and link[1] in b) or (link[0] in b and link[1] in a) for a, b in self._walls):
            self.record(Dropped(agent=sender, why="partition", stanza=text))
            return
        if faults.drop and rng.random() < faults.drop:
            self.record(Dropped(agent=sender, why="drop", stanza=text))
            return
        if faults.duplicate and rng.random() < faults.duplicate:
            self.record(Doubled(agent=sender, stanza=text))
            self._send_late(passing, faults)
        if faults.reorder and rng.random() < faults.reorder:
            self.record(Overtaken(agent=sender, stanza=text))
            self._send_late(passing, faults)
            return
        if link not in self._links:
            self._links[link] = Pipe(self.loop, rng, self._route)
        self._links[link].put(passing, faults.delay, self.loop.outside)

    def _send_late(self, passing: _Passing, faults: Faults) -> None:
        seconds = self.rng.uniform(*faults.delay) + self.rng.uniform(0.0, faults.late)
        self.loop.call_later(seconds, self._route, passing, context=self.loop.outside)

    def _route(self, passing: _Passing) -> None:
        try:
            self.router.receive(passing.stream.session, passing.stanza)
        except StreamError as error:
            passing.stream.close(error)


@dataclass(frozen=True, slots=True)
class _Passing:
    stream: Stream
    stanza: Stanza
