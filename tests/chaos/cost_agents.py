"""One agent of a measurement: `python -m tests.chaos.cost_agents SIDE KIND PORT FOLDER STORE`.

An asker reads ``HOW-MANY AT-ONCE`` from its standard input, asks so often, and says how many seconds it took.
"""

from __future__ import annotations

import asyncio
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Collection
from functools import partial
from pathlib import Path

from spade.agent import Agent
from spade.behaviour import CyclicBehaviour
from spade.message import Message

from agents.base import Ports, Server
from behaviours import delivery
from behaviours.outcomes import Succeeded
from behaviours.resuming import Resuming
from resilience.inbox import Claim, Hold, Standing
from resilience.journal import Effects, Journal
from resilience.memory import MemoryJournal
from tests.behaviours.samples import Add, Adder, Asker
from tests.chaos.agent import open_journal, say

Ask = Callable[[], Awaitable[None]]


class NoJournal(MemoryJournal):
    """Keeps nothing: every message is new, and everything written down is forgotten."""

    async def claim(self, hold: Hold, digest: str, dead: Collection[str] = ()) -> Claim:
        """Whatever comes is handled."""
        return Claim(standing=Standing.NEW, attempts=1, is_ours=True)

    async def renew(self, hold: Hold) -> bool:
        """Nobody else has it."""
        return True

    async def commit(self, effects: Effects, hold: Hold | None = None) -> bool:
        """Nothing is written."""
        return True


def careless() -> Journal:
    """Take all guarantees from the agents of this process."""
    vars(delivery)["MARK"] = ""  # nobody acknowledges
    Resuming.is_offered = property(lambda _self: False, lambda _self, _value: None)  # type: ignore[assignment]
    return NoJournal()


class Plain(Agent):  # type: ignore[misc]
    """A plain SPADE agent."""

    class Hear(CyclicBehaviour):  # type: ignore[misc]
        """Answer each request; wake whoever waits for an answer."""

        async def run(self) -> None:
            """Take one message."""
            message = await self.receive(timeout=3600)
            if message is None:
                return
            if message.get_metadata("performative") == "request":
                reply = message.make_reply()
                reply.set_metadata("performative", "inform")
                reply.body = message.body
                await self.send(reply)
            else:
                self.agent.asked.pop(message.thread).set_result(None)

    async def setup(self) -> None:
        """Begin to hear."""
        self.asked: dict[str, asyncio.Future[None]] = {}
        self.hear = self.Hear()
        self.add_behaviour(self.hear)

    async def ask(self, to: str) -> None:
        """Ask, and wait for the answer."""
        message = Message(to=to, body='{"add": {"a": 1.0, "b": 2.0}}', thread=uuid.uuid4().hex)
        for name, value in (
            ("performative", "request"),
            ("protocol", "fipa-request"),
            ("language", "json"),
            ("ontology", "sums"),
            ("reply-with", uuid.uuid4().hex),
        ):
            message.set_metadata(name, value)
        answered = self.asked[message.thread] = asyncio.get_running_loop().create_future()
        await self.hear.send(message)
        await answered


async def ours(side: str, kind: str, server: Server, store: str, to: str) -> Ask:
    """Start an agent of ours."""
    journal = (
        careless()
        if kind == "without"
        else MemoryJournal()
        if kind == "memory"
        else await open_journal(store)
    )
    name = f"{side}{kind}@localhost"
    agent = (Adder if side == "adder" else Asker)(name, "secret", server, Ports(journal=journal))
    await agent.start()

    async def ask() -> None:
        outcome = await agent.request(to, Add(a=1, b=2))
        assert isinstance(outcome, Succeeded), outcome

    return ask


async def main(side: str, kind: str, port: str, folder: str, store: str) -> None:
    """Be an agent until the end of the input."""
    to = f"adder{kind}@localhost"
    if kind == "spade":
        agent = Plain(f"{side}spade@localhost", "secret", port=int(port), verify_security=False)
        await agent.start(auto_register=False)
        ask: Ask = partial(agent.ask, to)
    else:
        server = Server(host="127.0.0.1", port=int(port), ca_file=Path(folder) / "authority" / "ca.pem")
        ask = await ours(side, kind, server, store, to)
    say("ready")
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(partial(asyncio.StreamReaderProtocol, reader), sys.stdin)
    while line := await reader.readline():
        many, at_once = map(int, line.split())
        begun = time.perf_counter()

        async def ask_often(times: int) -> None:
            for _each in range(times):
                await ask()

        await asyncio.gather(*(ask_often(many // at_once) for _each in range(at_once)))
        say(f"{time.perf_counter() - begun}")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
