"""A client outside of the containers: tasks that it has asked for, and what has become of each."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from agents.base import LocutionAgent
from behaviours.outcomes import Outcome, Succeeded, sentence
from ontology.content import Term
from ontology.tasks import Awarded, AwardLost, Progress, Train, Trained
from society.arguments import reference
from society.client import coordinators, operator
from society.config import SocietyFile, load
from tests.compose.stack import PATIENCE, ROOT, Stack, StackError

DATA = ROOT / "examples"

FILE = """
[society]
name = "locution"
state = "outside"
data = "{data}"
operator = "{account}"
[xmpp]
server = "external"
port = {port}
ca_file = "ca.pem"
[[agent]]
name = "directory"
kind = "directory-facilitator"
"""


def society_file(stack: Stack, folder: Path, account: str) -> Path:
    """Make an account by the documented commands, and write a society file for it; its path."""
    password = stack.inside("prosody", "account", account).strip()
    (folder / "ca.pem").write_text(stack.inside("prosody", "cat", "/run/secrets/ca.pem"))
    path = folder / f"{account}.toml"
    path.write_text(FILE.format(data=DATA, account=account, port=stack.port))
    os.environ[f"LOCUTION_PASSWORD_{account.upper()}"] = password
    return path


class Outside:
    """The tasks of one client.

    Attributes:
        answers: what came of each task, by its model's name.
        awards: to whom each was awarded, in order.
        told: how many notices of progress have come, by model.
        losses: why awards were lost.
    """

    def __init__(self, agent: LocutionAgent, file: SocietyFile) -> None:
        self._agent, self._file = agent, file
        self._dataset = reference(DATA / "digits.csv", DATA)
        self.answers: dict[str, list[Outcome]] = {}
        self.awards: dict[str, list[str]] = {}
        self.told: Counter[str] = Counter()
        self.losses: list[str] = []
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._happened = asyncio.Event()

    def ask(self, model: str, leader: str, *, seed: int) -> None:
        """Ask for a model, and go on at once."""
        action = Train(
            dataset=self._dataset, target="digit", model=model, network="cnn", epochs=20, patience=20,
            batch_size=16, seed=seed, notify=True,
        )  # fmt: skip
        self.answers[model], self.awards[model] = [], []
        self._tasks[model] = asyncio.create_task(self._ask(model, leader, action))

    async def _ask(self, model: str, leader: str, action: Train) -> None:
        def notice(term: Term) -> None:
            if isinstance(term, Awarded):
                self.awards[model].append(term.learner.partition("@")[0])
            if isinstance(term, AwardLost):
                self.losses.append(term.text)
            self.told[model] += isinstance(term, Progress)
            self._happened.set()

        outcome = await self._agent.request(
            leader, action, reply_within=60.0, result_within=None, on_notice=notice
        )
        self.answers[model].append(outcome)
        self._happened.set()

    async def leader(self) -> str:
        """The name of the coordinator that leads."""
        found = (await coordinators(self._agent, self._file, lambda _event, **_fields: None))[0]
        return found.partition("@")[0]

    async def under_way(self, models: list[str]) -> str:
        """Wait until one of these is being trained; the learner that does it."""
        async with asyncio.timeout(PATIENCE):
            while True:
                for model in models:
                    if self.told[model] and self.awards[model] and not self.answers[model]:
                        return self.awards[model][-1]
                if all(self.answers[model] for model in models):
                    raise StackError(f"all of {models} ended before anything could be killed")
                self._happened.clear()
                await self._happened.wait()

    async def ended(self, models: list[str]) -> None:
        """Wait until all of these have come to an end.

        Raises:
            StackError: one was not done.
        """
        await asyncio.wait_for(asyncio.gather(*(self._tasks[model] for model in models)), PATIENCE)
        for model in models:
            for outcome in self.answers[model]:
                if not (isinstance(outcome, Succeeded) and isinstance(outcome.result, Trained)):
                    raise StackError(f"{model}: {sentence(outcome)}")


@asynccontextmanager
async def outside(stack: Stack, folder: Path) -> AsyncIterator[Outside]:
    """Log in from outside."""
    file = load(society_file(stack, folder, "outsider"), {**os.environ})
    async with operator(file) as agent:
        yield Outside(agent, file)
