"""Killing and freezing the leader of a group, again and again, and what its worker made of that."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agents.base import Ports, Server
from behaviours.events import ConversationRefused, Fact
from behaviours.fencing import office_of
from behaviours.handlers import on
from behaviours.outcomes import Answer
from behaviours.participating import Participation
from society.xmpp_server import CertificateAuthority, XmppServer
from tests.behaviours.samples import Add, Asker, Sum
from tests.chaos.processes import Process, says_ready
from tests.resilience.consul_server import ConsulServer

MEMBERS = ("ann", "ben", "cid")

WITHIN = 30.0
"""Seconds in which there has to be a new leader; far more than is hoped for."""


Request = tuple[int, int]
"""The process that has made it, and its number there."""


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """Something that the worker did for a leader."""

    leader: str
    term: int
    request: Request = (0, 0)


class Worker(Asker):
    """Notes for which leaders it works."""

    accepted: list[Accepted]

    @on(Add)
    async def add(self, action: Add, task: Participation) -> Answer:
        """Add."""
        office = office_of(task.message)
        assert office is not None
        request = (int(action.a), int(action.b))
        self.accepted.append(Accepted(leader=task.initiator.local_name, term=office.term, request=request))
        return Sum(value=action.a + action.b)


class Member:
    """One member's process, and what it says."""

    def __init__(self, name: str, place: Mapping[str, object], folder: Path, told: asyncio.Event) -> None:
        self.name = name
        told_place = json.dumps({**place, "jid": f"{name}@localhost"})
        command = [sys.executable, "-m", "tests.failover.member", told_place]
        self.process = Process(name, lambda _life: command, folder, says_ready)
        self.elected: list[tuple[int, float]] = []
        """Terms, and when each began by the machine's monotonic clock."""
        self.deposed: list[int] = []
        self.ended: list[tuple[Request, str]] = []
        """What has become of its requests."""
        self._told = told
        self._reading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start it, or start it anew."""
        await self.process.start()
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        while line := await self.process.line():
            what, *told = line.split()
            match what:
                case "elected":
                    self.elected.append((int(told[0]), float(told[1])))
                case "deposed":
                    self.deposed.append(int(told[0]))
                case _:
                    self.ended.append(((int(told[0]), int(told[1])), told[2]))
                    continue  # nobody waits for that
            self._told.set()

    @property
    def term(self) -> int:
        """The latest term in which it led; 0 for none."""
        return self.elected[-1][0] if self.elected else 0

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self.process.child is not None
        self.process.child.send_signal(number)

    async def kill(self) -> None:
        """Kill it."""
        await self.process.kill()
        if self._reading is not None:
            await self._reading
            self._reading = None


@dataclass
class Found:
    """What came of a run."""

    killed: list[float] = field(default_factory=list)
    """Seconds from each kill until another one led."""
    frozen: list[float] = field(default_factory=list)
    """Likewise, from each freeze."""
    accepted: list[Accepted] = field(default_factory=list)
    refused: int = 0
    """Requests of leaders of the past."""
    is_stubborn: bool = False
    """Whether leaders of the past went on, so that they were refused."""
    terms: dict[int, str] = field(default_factory=dict)
    """Who led in each."""
    ended: list[tuple[Request, str]] = field(default_factory=list)
    """What has become of each request, as whoever made it was told."""
    in_flight: int = 0
    """Requests that a leader had under way at most."""

    @property
    def unanswered(self) -> int:
        """Requests that were accepted and of which nobody was told: their leader fell meanwhile."""
        return len({each.request for each in self.accepted} - {request for request, _how in self.ended})

    @property
    def miscounted(self) -> list[str]:
        """What must not be: a request that was done twice, or ended twice or badly, or was lost."""
        done = Counter(each.request for each in self.accepted)
        ended = Counter(request for request, _how in self.ended)
        found = [f"request {each} was done {times} times" for each, times in done.items() if times > 1]
        found += [f"request {each} ended {times} times" for each, times in ended.items() if times > 1]
        for request, how in self.ended:
            if how != "well" and not self.is_stubborn:
                found.append(f"request {request} ended as {how}")
            elif how == "well" and not done[request]:
                found.append(f"request {request} was answered and never done")
        most = self.in_flight * len(self.terms)
        if self.unanswered > most:
            found.append(f"{self.unanswered} requests were lost, and at most {most} were under way at an end")
        return found

    @property
    def faults(self) -> list[str]:
        """All that must not be."""
        return [*self.obeyed, *self.miscounted]

    @property
    def obeyed(self) -> list[str]:
        """What must not be: a term of two leaders, or work for a leader of the past."""
        found, highest = [], 0
        for each in self.accepted:
            if self.terms.get(each.term) != each.leader:
                found.append(f"{each.leader} was obeyed in term {each.term}, of {self.terms.get(each.term)}")
            if each.term < highest:
                found.append(f"term {each.term} was obeyed after term {highest}")
            highest = max(highest, each.term)
        return found


class Running:
    """A group of three over the embedded server, and its worker.

    Args:
        folder: for everything.
        lock: ``"consul"`` or ``"sqlite"``.
        ttl: seconds of the lock.
        in_flight: requests that the leader has under way.
        is_stubborn: whether a leader that was deposed goes on as if it led, and has to be refused.
    """

    def __init__(
        self, folder: Path, lock: str, ttl: float, in_flight: int, *, is_stubborn: bool = False
    ) -> None:
        self._folder, self._lock, self._ttl, self._in_flight = folder, lock, ttl, in_flight
        self._is_stubborn = is_stubborn
        self._told = asyncio.Event()
        self.found = Found(is_stubborn=is_stubborn, in_flight=in_flight)

    async def run(self, kills: int, freezes: int) -> Found:
        """Do it all."""
        self._folder.mkdir(parents=True, exist_ok=True)
        consul = ConsulServer(self._folder / "consul") if self._lock == "consul" else None
        authority = CertificateAuthority.open(self._folder / "authority")
        names = dict.fromkeys((*MEMBERS, "worker"), "secret")
        xmpp = XmppServer(domain="localhost", port=0, authority=authority, passwords=names)
        await xmpp.start()
        server = Server(host="127.0.0.1", port=xmpp.port, ca_file=authority.file)
        worker = Worker("worker@localhost", "secret", server, Ports(hook=self._note))
        worker.accepted = self.found.accepted
        await worker.start()
        place = {
            "port": xmpp.port,
            "ca_file": str(authority.file),
            "lock": self._lock,
            "where": consul.url if consul else str(self._folder / "lock.sqlite"),
            "ttl": self._ttl,
            "worker": worker.me.name,
            "in_flight": self._in_flight,
            "is_stubborn": self._is_stubborn,
        }
        members = [Member(name, place, self._folder, self._told) for name in MEMBERS]
        try:
            if consul is not None:
                await asyncio.to_thread(consul.ready)
            await asyncio.gather(*(each.start() for each in members))
            for number in range(kills + freezes):
                leader = await self._works_for_one(members)
                await (self._kill if number < kills else self._freeze)(leader, members)
            await self._works_for_one(members)
        finally:
            for each in members:
                await each.kill()
            await worker.stop()
            await xmpp.stop()
            if consul is not None:
                consul.stop()
        self.found.terms = {term: each.name for each in members for term, _when in each.elected}
        self.found.ended = [one for each in members for one in each.ended]
        return self.found

    def _note(self, fact: Fact) -> None:
        if isinstance(fact, ConversationRefused):
            self.found.refused += 1
            self._told.set()

    async def _kill(self, leader: Member, members: Sequence[Member]) -> None:
        others = [each for each in members if each is not leader]
        begun = time.monotonic()
        await leader.kill()
        following = await self._leader_above(leader.term, others)
        self.found.killed.append(following.elected[-1][1] - begun)
        await leader.start()

    async def _freeze(self, leader: Member, members: Sequence[Member]) -> None:
        others, term = [each for each in members if each is not leader], leader.term
        begun = time.monotonic()
        leader.signal(signal.SIGSTOP)
        try:
            following = await self._leader_above(term, others)
            self.found.frozen.append(following.elected[-1][1] - begun)
            await self._works_for_one(others)
        finally:
            leader.signal(signal.SIGCONT)
        await self._until(lambda: term in leader.deposed)
        if self._is_stubborn:
            await self._until(lambda: self.found.refused > 0)

    async def _leader_above(self, term: int, members: Sequence[Member]) -> Member:
        await self._until(lambda: max(each.term for each in members) > term)
        return max(members, key=lambda each: each.term)

    async def _works_for_one(self, members: Sequence[Member]) -> Member:
        """Wait until the worker has done something for the leader of the latest term; who that is.

        A stall of the machine may have made another one of them the leader meanwhile.
        """
        goal = len(self.found.accepted) + self._in_flight
        await self._until(
            lambda: (
                len(self.found.accepted) >= goal
                and self.found.accepted[-1].term == max(each.term for each in members)
            )
        )
        return max(members, key=lambda each: each.term)

    async def _until(self, holds: object) -> None:
        assert callable(holds)
        async with asyncio.timeout(WITHIN):
            while not holds():
                self._told.clear()
                try:
                    async with asyncio.timeout(0.05):  # the worker's list tells nobody
                        await self._told.wait()
                except TimeoutError:
                    pass
