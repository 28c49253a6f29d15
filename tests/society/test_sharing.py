"""Whom a client asks of several coordinators, and the examples of docs/leadership.md."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agents.directory_facilitator import DirectoryFacilitator
from agents.registered import RegisteredAgent
from behaviours.delivery import Undelivered
from behaviours.grouping import Group
from behaviours.handlers import announced, on
from behaviours.outcomes import Answer, Outcome, Refuse, Refused, Succeeded
from behaviours.participating import Participation
from ontology.aid import AgentIdentifier
from ontology.content import Ontology, Predicate
from ontology.tasks import Train
from resilience.memory import MemoryLock
from resilience.rendezvous import ranked
from society import arguments, client, commands
from society.config import load
from tests.agents.conftest import DIRECTORY, TASK, trained_by
from tests.conftest import World, becomes
from tests.society.conftest import Told, free_ports
from tests.society.test_commands import Pretender

GUIDE = (Path(__file__).parents[2] / "docs" / "leadership.md").read_text()


def example(name: str, language: str) -> str:
    """An example as the guide shows it."""
    found = re.search(rf"<!-- example: {name} -->\n```{language}\n(.*?)```", GUIDE, re.DOTALL)
    assert found is not None
    return found.group(1)


class Doer(RegisteredAgent):
    """Answers at once, or stands by."""

    def __init__(self, *args: Any, stands_by: bool = False) -> None:
        super().__init__(*args, directory=DIRECTORY)
        self.stands_by, self.asked = stands_by, list[str]()

    @on(Train)
    async def train(self, _action: Train, task: Participation) -> Answer:
        self.asked.append(task.id)
        return Refuse("unsupported-function", "I stand by") if self.stands_by else trained_by(self.me.name)


async def ask(asker: RegisteredAgent, names: list[str], told: Told) -> Outcome:
    return await client.ask_one(asker, names, TASK, told, 10.0)


async def test_the_one_that_is_asked_follows_from_the_conversation(world: World, told: Told) -> None:
    doers = [await world.start(Doer, name) for name in ("ann", "bob", "cid")]
    asker = await world.start(Doer, "asker")
    names = [each.me.name for each in doers]
    for _ in range(30):
        assert isinstance(await ask(asker, names, told), Succeeded)
    assert all(ranked(task, names)[0] == doer.me.name for doer in doers for task in doer.asked)
    assert min(len(doer.asked) for doer in doers) > 0
    assert len(told.names) == 30
    assert names == [each.me.name for each in doers], "nobody was passed over"


async def test_one_that_is_not_there_or_stands_by_is_passed_over(
    world: World, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "PASSED_OVER_AFTER", 0.3)
    ann, bob = await world.start(Doer, "ann"), await world.start(partial(Doer, stands_by=True), "bob")
    world.account("dead")
    asker = await world.start(Doer, "asker")
    names = ["dead@localhost", bob.me.name, ann.me.name]
    while len(names) > 1:
        outcome = await ask(asker, names, told)
        assert isinstance(outcome, Succeeded)
        assert outcome.result.learner == ann.me.name
    assert (len(bob.asked), names) == (1, [ann.me.name]), "and none is asked again"
    assert isinstance(await ask(asker, [bob.me.name], told), Refused), "there is nobody else"


async def test_the_example_shares_its_work_out(tmp_path: Path, start: Any, told: Told) -> None:
    base = free_ports(10)
    kinds = example("per-task", "toml").replace(
        '"learner"\nkind = "learner"', f'"learner"\nkind = "{Pretender.__module__}:Pretender"'
    )
    path = tmp_path / "society.toml"
    path.write_text(f"{kinds}\n[xmpp]\nport = {base}\n[dashboard]\nport = {base + 1}\n")
    file = load(path)
    (tmp_path / "data.csv").write_text("x,y\n1,2\n")
    await start(file)
    task = arguments.task(Path("data.csv"), file.society.data, {"target": "y"})
    asked = set[str]()
    for _ in range(20):
        listed = Told()
        assert await commands.train(file, None, task, None, listed) == 0
        asked |= {fields["receiver"] for name, fields in listed.events if name == "asked"}
    assert asked == {"ann@localhost", "bob@localhost"}
    listed = Told()
    assert await commands.groups(file, listed) == 0
    leaders = {fields["name"]: fields["leader"] for name, fields in listed.events if name == "group"}
    assert leaders == {"coordinators/ann": "ann@localhost", "coordinators/bob": "bob@localhost"}
    assert ("members", {"group": "coordinators", "members": sorted(asked)}) in listed.events


class Plan(Predicate):
    """What is announced."""

    step: int


async def test_the_example_of_members_does_what_it_says(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    await world.start(DirectoryFacilitator, "directory")
    scope: dict[str, Any] = {
        "AgentIdentifier": AgentIdentifier,
        "Group": Group,
        "PLANS": Ontology(name="plans", version=(1, 0), terms=(Plan,)),
        "Plan": Plan,
        "RegisteredAgent": RegisteredAgent,
        "Undelivered": Undelivered,
        "announced": announced,
    }
    exec(compile(example("members", "python"), "docs/leadership.md", "exec", dont_inherit=True), scope)
    kind, lock = partial(scope["Planner"], directory=DIRECTORY), MemoryLock()
    ann, bob = [await world.start(kind, name, lock=lock) for name in ("ann", "bob")]
    await becomes(lambda: len(ann.group("planners").members) == len(bob.group("planners").members) == 2)
    await scope["play"](ann)
    lines: list[str] = []

    def is_heard() -> bool:
        lines.extend(capsys.readouterr().out.splitlines())
        return "bob hears of step 1 from ann" in lines

    await becomes(is_heard)
    assert {"ann sees ['ann', 'bob']", "bob sees ['ann', 'bob']"} <= set(lines)
