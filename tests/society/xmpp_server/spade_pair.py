"""Two plain SPADE agents that talk over XMPP; run as a process of its own, see `test_clients`.

SPADE keeps a global container and event loop, and hands messages between agents of one process directly
unless the address is not literally the agent's: so the agents have resources and write to bare JIDs.
"""

from __future__ import annotations

import asyncio
import sys

from spade.agent import Agent
from spade.behaviour import CyclicBehaviour, OneShotBehaviour
from spade.container import Container
from spade.message import Message


class Answering(CyclicBehaviour):
    async def run(self) -> None:
        message = await self.receive(timeout=10)
        if message is not None:
            answer = message.make_reply()
            answer.body = f"{message.get_metadata('performative')}: {message.body}"
            await self.send(answer)


class Asking(OneShotBehaviour):
    async def run(self) -> None:
        for number in range(20):
            message = Message(to="bob@localhost", body=str(number), metadata={"performative": "request"})
            await self.send(message)
            answer = await self.receive(timeout=10)
            print(answer.body if answer else "nothing", flush=True)  # noqa: T201


async def main(port: int, auto_register: bool) -> None:
    alice = Agent("alice@localhost/spade", "secret", port=port, verify_security=True)
    bob = Agent("bob@localhost/spade", "secret", port=port, verify_security=True)
    bob.add_behaviour(Answering())
    await bob.start(auto_register=auto_register)
    await alice.start(auto_register=auto_register)
    asking = Asking()
    alice.add_behaviour(asking)
    await asking.join()
    await alice.stop()
    await bob.stop()


if __name__ == "__main__":
    container = Container()
    asyncio.set_event_loop(container.loop)
    container.loop.run_until_complete(main(int(sys.argv[1]), sys.argv[2] == "register"))
