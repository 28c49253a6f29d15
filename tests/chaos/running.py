"""One run of the chaos test: processes are started, killed and started anew, then their history is judged."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from behaviours.chronicling import CONVERSATION
from resilience.records import RecordsError
from society.xmpp_server import CertificateAuthority
from tests.chaos import processes
from tests.chaos.agent import Place, open_journal
from tests.chaos.history import read
from tests.chaos.processes import Process
from tests.chaos.proxy import Proxy
from tests.chaos.verdict import Left, Verdict, judge

PATIENCE = 120.0
"""Seconds after the last kill in which the sender must have been told of everything."""

DRAIN = 75.0
"""Seconds in which the journals must be empty then: longer than a proposal binds."""

PAUSE = 3.0
"""Seconds at most between two kills, where the sender is held up."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be done."""

    folder: Path
    messages: int = 1000
    kills: int = 20
    seed: int = 1
    xmpp: Literal["embedded", "prosody"] = "embedded"
    journal: Literal["sqlite", "redis"] = "sqlite"
    breaks: str = ""
    receivers: int = 3
    patience: float = PATIENCE
    drain: float = DRAIN
    reply_within: float = 30.0


class Run:
    """One run; see `run`."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.dice = random.Random(plan.seed)
        self.names = [f"receiver{each}" for each in range(1, plan.receivers + 1)]
        self.killed: list[str] = []
        self.cuts = 0
        self.told = 0
        self._over = asyncio.Event()
        self._moved = asyncio.Event()
        self._comings: set[asyncio.Task[None]] = set()
        self._dead: set[Process] = set()
        self._listening: asyncio.Task[None] | None = None

    async def __call__(self) -> Verdict:
        """Run it."""
        plan = self.plan
        for each in ("history", "effects"):
            (plan.folder / each).mkdir()
        CertificateAuthority.open(plan.folder / "authority")
        await self._make()
        try:
            await self._start()
            await self._disturb()
            async with contextlib.AsyncExitStack() as stack:
                stack.push_async_callback(self._stop_agents)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(plan.patience):
                        await asyncio.gather(*self._comings)
                        await self._over.wait()
                left = await self._left()
        finally:
            await self._stop_agents()
            await self.proxy.stop()
            for each in self.servers:
                await each.stop()
        return judge(read(plan.folder / "history"), left)

    async def _make(self) -> None:
        plan = self.plan
        passwords = dict.fromkeys(("sender", *self.names), "secret")
        if plan.xmpp == "prosody":
            self.server, port = processes.prosody(plan.folder, passwords)
        else:
            self.server, port = processes.embedded(plan.folder, tuple(passwords))
        stores, self.where = [self.server], str(plan.folder / "journal.sqlite")
        if plan.journal == "redis":
            redis, self.where = processes.redis(plan.folder)
            stores.append(redis)
        self.proxy = Proxy(port)
        await self.proxy.start()
        place = Place(
            folder=str(plan.folder),
            port=self.proxy.port,
            journal=self.where,
            breaks=plan.breaks,
            duplicate=1.0 if plan.breaks else 0.1,
            behind=0.1,
            reply_within=plan.reply_within,
        ).told()
        self.receivers = [self._agent("receiver", name, place) for name in self.names]
        self.sender = self._agent("sender", "sender", place, ",".join(self.names), str(plan.seed))
        self.servers = stores

    async def _start(self) -> None:
        await asyncio.gather(*(each.start() for each in self.servers))
        await asyncio.gather(*(each.start() for each in (*self.receivers, self.sender)))
        self._listening = asyncio.create_task(self._listen())

    def _victims(self) -> list[Process]:
        """Who is killed, one after the other: each once if there are enough kills, else mostly receivers."""
        everybody = [*self.receivers, *([] if self.plan.breaks else self.servers)]
        weights = [3 if each in self.receivers else 1 for each in everybody]
        some = self.dice.sample(everybody, k=min(len(everybody), self.plan.kills))
        more = self.dice.choices(everybody, weights, k=self.plan.kills - len(some))
        self.dice.shuffle(victims := [*some, *more])
        return victims

    def _agent(self, kind: str, name: str, *more: str) -> Process:
        def command(life: int) -> Sequence[str]:
            return processes.module(kind, name, str(life), *more)

        return Process(name, command, self.plan.folder, processes.says_ready)

    async def _listen(self) -> None:
        while line := await self.sender.line():
            if line == "over":
                self._over.set()
            else:
                self.told = int(line.removeprefix("told "))
            self._moved.set()

    async def _disturb(self) -> None:
        """Let the sender begin a part of it, wait until some of that is done, and kill somebody."""
        plan, begun = self.plan, 0
        for kill, victim in enumerate(self._victims()):
            share = plan.messages * (kill + 1) // (plan.kills + 1) - begun
            begun += share
            self.sender.write(f"{share}\n")
            await self._progress(begun - share // 2)
            await self._kill(victim)
            if self.dice.random() < 0.3:
                self.cuts += self.proxy.cut(self.dice)
        self.sender.write(f"{plan.messages - begun}\n")
        assert self.sender.child is not None
        assert self.sender.child.stdin is not None
        self.sender.child.stdin.close()

    async def _progress(self, told: int) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PAUSE):
                while self.told < told:
                    self._moved.clear()
                    await self._moved.wait()

    async def _kill(self, victim: Process) -> None:
        """Kill somebody, who comes back by itself, soon."""
        while victim in self._dead:
            await asyncio.wait(self._comings, return_when=asyncio.FIRST_COMPLETED)
        self._dead.add(victim)
        await victim.kill()
        self.killed.append(victim.name)
        task = asyncio.create_task(self._come_back(victim, self.dice.uniform(0, 0.5)))
        self._comings.add(task)
        task.add_done_callback(self._comings.discard)

    async def _come_back(self, victim: Process, pause: float) -> None:
        await asyncio.sleep(pause)
        for attempt in range(5):
            try:
                await victim.start()
                break
            except RuntimeError:  # what it needs was dead as well
                if attempt == 4:
                    raise
        self._dead.discard(victim)

    async def _left(self) -> Left:
        """What the journal holds, as soon as that is nothing, or when patience is over."""
        left = Left(outgoing=[("the journal", "that cannot be read")])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.plan.drain):
                journal = await open_journal(self.where)
                try:
                    while True:
                        with contextlib.suppress(RecordsError):
                            left = await self._found(journal)
                            if not (left.outgoing or left.conversations):
                                break
                        await asyncio.sleep(0.2)
                finally:
                    await journal.close()
        return left

    async def _found(self, journal) -> Left:  # type: ignore[no-untyped-def]
        outgoing, conversations = [], []
        for name in ("sender", *self.names):
            agent = f"{name}@localhost"
            outgoing += [(agent, each.id) for each in await journal.outgoing(agent)]
            keys = {each.key.partition("#")[0] for each in await journal.snapshots(agent)}
            conversations += [(agent, key) for key in keys if key.startswith(CONVERSATION)]
        return Left(outgoing=outgoing, conversations=conversations)

    async def _stop_agents(self) -> None:
        for each in tuple(self._comings):
            each.cancel()
        await asyncio.gather(*self._comings, return_exceptions=True)
        await asyncio.gather(*(each.stop() for each in (self.sender, *self.receivers)))
        if self._listening is not None:
            await asyncio.gather(self._listening, return_exceptions=True)
