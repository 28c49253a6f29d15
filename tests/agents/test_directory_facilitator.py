"""The yellow pages: who may write what, how it is found, and how leases end."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

import agents.directory_facilitator
from agents.base import LocutionAgent, Ports, Server
from agents.directory_facilitator import COLLECTION, DESCRIPTION_BYTES, DirectoryFacilitator
from behaviours.events import Hook, RecordNotKept, ignore
from behaviours.outcomes import Failed, NotUnderstood, Outcome, Refuse, Refused, Succeeded
from ontology.aid import AgentIdentifier
from ontology.content import CONTENT_LIMIT, AgentAction, Done
from ontology.errors import Cause
from ontology.management import (
    Deregister,
    DfAgentDescription,
    Found,
    Modify,
    Register,
    Registered,
    Search,
    SearchConstraints,
    ServiceDescription,
)
from resilience.memory import MemoryRecords
from resilience.sqlite_store import StoreError
from tests.agents.conftest import TASK
from tests.conftest import ManualClock, World

pytestmark = pytest.mark.usefixtures("fresh_container")

DIRECTORY = "directory@localhost"


class Pages:
    """A directory under a manual clock, and agents that speak with it."""

    def __init__(self, world: World, clock: ManualClock) -> None:
        self.world, self.clock = world, clock
        self.records = MemoryRecords()
        self.directory: DirectoryFacilitator

    async def open(self, **settings: Any) -> None:
        kind = partial(DirectoryFacilitator, **settings)
        self.directory = await self.world.start(kind, "directory", clock=self.clock, records=self.records)

    async def agent(self, name: str) -> LocutionAgent:
        return await self.world.start(LocutionAgent, name, clock=self.clock)

    async def found(self, agent: LocutionAgent, **template: Any) -> list[str]:
        outcome = await agent.request(DIRECTORY, Search(template=DfAgentDescription(**template)))
        return [each.name.local_name for each in result(outcome).descriptions]


def result(outcome: Outcome) -> Any:
    assert isinstance(outcome, Succeeded), outcome
    return outcome.result


def cause(outcome: Outcome) -> tuple[type[Outcome], str]:
    assert isinstance(outcome, Refused | Failed | NotUnderstood), outcome
    return type(outcome), outcome.reason.cause


def described(agent: LocutionAgent, **fields: Any) -> DfAgentDescription:
    return DfAgentDescription(name=agent.me, **fields)


@pytest.fixture
async def pages(world: World, manual_clock: ManualClock) -> Pages:
    pages = Pages(world, manual_clock)
    await pages.open(longest_lease=100.0)
    return pages


async def test_an_agent_registers_is_found_and_leaves(pages: Pages) -> None:
    alice, bob = await pages.agent("alice"), await pages.agent("bob")
    description = described(alice, services=(ServiceDescription(name="sums", type="arithmetic"),))
    registered = await alice.request(DIRECTORY, Register(description=description))
    assert result(registered) == Registered(lease_time=100.0)
    entry = description.model_copy(update={"lease_time": 100.0})
    assert result(await bob.request(DIRECTORY, Search())) == Found(descriptions=(entry,))
    assert result(await alice.request(DIRECTORY, Deregister(name=alice.me))) == Done()
    assert result(await bob.request(DIRECTORY, Search())) == Found(descriptions=())


async def test_registering_twice_fails(pages: Pages) -> None:
    alice = await pages.agent("alice")
    await alice.request(DIRECTORY, Register(description=described(alice)))
    outcome = await alice.request(DIRECTORY, Register(description=described(alice)))
    assert cause(outcome) == (Failed, Cause.ALREADY_REGISTERED)
    assert outcome.reason.text == "alice@localhost is registered already; modify it instead"
    assert outcome.reason.about == "alice@localhost"


async def test_whoever_is_not_registered_cannot_modify_or_leave(pages: Pages) -> None:
    alice = await pages.agent("alice")
    for action in (Modify(description=described(alice)), Deregister(name=alice.me)):
        outcome = await alice.request(DIRECTORY, action)
        assert cause(outcome) == (Failed, Cause.NOT_REGISTERED)
        assert outcome.reason.text == "alice@localhost is not registered, or its lease has run out"


async def test_an_agent_speaks_for_itself_only(pages: Pages) -> None:
    alice, mallory = await pages.agent("alice"), await pages.agent("mallory")
    await alice.request(DIRECTORY, Register(description=described(alice)))
    actions: tuple[AgentAction, ...] = (
        Register(description=DfAgentDescription(name=AgentIdentifier(name="bob@localhost"))),
        Modify(description=described(alice)),
        Deregister(name=alice.me),
    )
    for action in actions:
        outcome = await mallory.request(DIRECTORY, action)
        assert cause(outcome) == (Refused, Cause.UNAUTHORISED)
        assert outcome.reason.text.startswith("mallory@localhost may not speak for ")
    assert await pages.found(alice) == ["alice"]


async def test_a_description_needs_a_name(pages: Pages) -> None:
    alice = await pages.agent("alice")
    for action in (Register(description=DfAgentDescription()), Modify(description=DfAgentDescription())):
        outcome = await alice.request(DIRECTORY, action)
        assert cause(outcome) == (Refused, Cause.MISSING_ARGUMENT)
        assert outcome.reason.about == "name"


async def test_a_name_counts_without_its_addresses(pages: Pages) -> None:
    alice = await pages.agent("alice")
    there = AgentIdentifier(name="Alice@localhost", addresses=("xmpp:alice@localhost/elsewhere",))
    await alice.request(DIRECTORY, Register(description=DfAgentDescription(name=there)))
    outcome = await alice.request(DIRECTORY, Register(description=described(alice)))
    assert cause(outcome) == (Failed, Cause.ALREADY_REGISTERED)
    assert await pages.found(alice, name=alice.me) == ["alice"]


async def test_it_speaks_of_the_directory_only(pages: Pages) -> None:
    alice = await pages.agent("alice")
    outcome = await alice.request(DIRECTORY, TASK)
    assert cause(outcome) == (NotUnderstood, Cause.UNSUPPORTED_VALUE)


ALICE = {
    "services": (
        ServiceDescription(name="sums", type="arithmetic", properties={"device": "cpu", "bits": "8"}),
        ServiceDescription(name="digits", type="inference", protocols=("fipa-request",)),
    ),
    "protocols": ("fipa-request", "fipa-contract-net"),
    "ontologies": ("sums/1.0",),
    "languages": ("json",),
}
BOB = {
    "services": (
        ServiceDescription(name="sums", type="arithmetic", properties={"device": "cuda"}, ownership="bob"),
    ),
    "protocols": ("fipa-request",),
    "languages": ("json", "fipa-sl0"),
}


@pytest.mark.parametrize(
    ("template", "names"),
    [
        ({}, ["alice", "bob"]),
        ({"name": AgentIdentifier(name="bob@localhost")}, ["bob"]),
        ({"name": AgentIdentifier(name="carol@localhost")}, []),
        ({"services": (ServiceDescription(type="arithmetic"),)}, ["alice", "bob"]),
        ({"services": (ServiceDescription(type="inference"),)}, ["alice"]),
        ({"services": (ServiceDescription(type="inference", name="sums"),)}, []),
        ({"services": (ServiceDescription(properties={"device": "cpu"}),)}, ["alice"]),
        ({"services": (ServiceDescription(properties={"device": "cpu", "bits": "16"}),)}, []),
        ({"services": (ServiceDescription(protocols=("fipa-request",)),)}, ["alice"]),
        ({"services": (ServiceDescription(ownership="bob"),)}, ["bob"]),
        (
            {"services": (ServiceDescription(name="digits"), ServiceDescription(name="sums"))},
            ["alice"],
        ),
        ({"protocols": ("fipa-contract-net",)}, ["alice"]),
        ({"ontologies": ("sums/1.0",)}, ["alice"]),
        ({"languages": ("fipa-sl0", "json")}, ["bob"]),
        ({"languages": ("latin",)}, []),
    ],
)
async def test_a_template_is_a_part_of_what_it_matches(
    template: dict[str, Any], names: list[str], manual_clock: ManualClock
) -> None:
    """Without a network: the handlers are called as the mailroom calls them."""
    directory = _unconnected(manual_clock)
    for name, fields in (("bob", BOB), ("alice", ALICE)):
        agent = AgentIdentifier(name=f"{name}@localhost")
        await directory.register(
            Register(description=DfAgentDescription(name=agent, **fields)), _asked_by(agent)
        )
    found: Any = await directory.search(Search(template=DfAgentDescription(**template)), _asked_by(agent))
    assert [each.name.local_name for each in found.descriptions] == names


async def test_a_template_goes_over_the_wire(pages: Pages) -> None:
    alice, bob = await pages.agent("alice"), await pages.agent("bob")
    await alice.request(DIRECTORY, Register(description=described(alice, **ALICE)))
    await bob.request(DIRECTORY, Register(description=described(bob, **BOB)))
    assert await pages.found(bob, services=(ServiceDescription(properties={"device": "cuda"}),)) == ["bob"]
    assert await pages.found(bob, name=alice.me, languages=("json",)) == ["alice"]


async def test_no_more_is_found_than_was_asked_for(pages: Pages) -> None:
    agents = [await pages.agent(name) for name in ("carol", "alice", "bob")]
    for agent in agents:
        await agent.request(DIRECTORY, Register(description=described(agent)))
    search = Search(constraints=SearchConstraints(max_results=2))
    found = result(await agents[0].request(DIRECTORY, search)).descriptions
    assert [each.name.local_name for each in found] == ["alice", "bob"]


async def test_no_more_is_found_than_a_message_can_carry(manual_clock: ManualClock) -> None:
    directory = _unconnected(manual_clock)
    long = ServiceDescription(name="x" * 9_900)
    for number in range(150):
        agent = AgentIdentifier(name=f"agent-{number:03}@localhost")
        description = DfAgentDescription(name=agent, services=(long,))
        await directory.register(Register(description=description), _asked_by(agent))
    found: Any = await directory.search(Search(), _asked_by(agent))
    content = directory.ontologies[0].render(found)
    assert 0.8 * CONTENT_LIMIT < len(content) < CONTENT_LIMIT
    assert found.descriptions[0].name.local_name == "agent-000"


async def test_a_lease_runs_out(pages: Pages) -> None:
    alice, bob = await pages.agent("alice"), await pages.agent("bob")
    await alice.request(DIRECTORY, Register(description=described(alice, lease_time=60.0)))
    await bob.request(DIRECTORY, Register(description=described(bob)))
    pages.clock.advance(59.9)
    assert await pages.found(bob) == ["alice", "bob"]
    pages.clock.advance(0.1)
    assert await pages.found(bob) == ["bob"]
    assert list(pages.records.all(COLLECTION)) == ["bob@localhost"]
    outcome = await alice.request(DIRECTORY, Modify(description=described(alice)))
    assert cause(outcome) == (Failed, Cause.NOT_REGISTERED)
    assert result(await alice.request(DIRECTORY, Register(description=described(alice))))


async def test_a_lease_is_capped(pages: Pages) -> None:
    alice = await pages.agent("alice")
    long = described(alice, lease_time=1e9)
    assert result(await alice.request(DIRECTORY, Register(description=long))) == Registered(lease_time=100)
    pages.clock.advance(100)
    assert await pages.found(alice) == []


async def test_a_modify_replaces_the_description_and_renews_the_lease(pages: Pages) -> None:
    alice = await pages.agent("alice")
    first = described(alice, lease_time=60.0, services=(ServiceDescription(type="arithmetic"),))
    second = described(alice, lease_time=50.0, services=(ServiceDescription(type="inference"),))
    await alice.request(DIRECTORY, Register(description=first))
    pages.clock.advance(40)
    modified = await alice.request(DIRECTORY, Modify(description=second))
    assert result(modified) == Registered(lease_time=50.0)
    pages.clock.advance(49)
    assert await pages.found(alice, services=(ServiceDescription(type="inference"),)) == ["alice"]
    assert await pages.found(alice, services=(ServiceDescription(type="arithmetic"),)) == []


async def test_a_search_tells_what_is_left_of_a_lease(pages: Pages) -> None:
    alice = await pages.agent("alice")
    await alice.request(DIRECTORY, Register(description=described(alice, lease_time=60.0)))
    pages.clock.advance(20)
    (found,) = result(await alice.request(DIRECTORY, Search())).descriptions
    assert found.lease_time == 40.0


async def test_registrations_survive_a_restart(pages: Pages) -> None:
    alice, bob = await pages.agent("alice"), await pages.agent("bob")
    await alice.request(DIRECTORY, Register(description=described(alice, **ALICE)))
    await bob.request(DIRECTORY, Register(description=described(bob, lease_time=30.0)))
    before = result(await bob.request(DIRECTORY, Search(template=described(alice)))).descriptions
    await pages.directory.stop()
    pages.clock.advance(30)
    await pages.open()
    (after,) = result(await bob.request(DIRECTORY, Search())).descriptions
    assert after == before[0].model_copy(update={"lease_time": 70.0})
    assert list(pages.records.all(COLLECTION)) == ["alice@localhost"]
    await alice.request(DIRECTORY, Deregister(name=alice.me))
    assert pages.records.all(COLLECTION) == {}


@pytest.mark.parametrize(
    "record",
    [
        "",
        "yesterday",
        '2026-11-20T13:00:00+00:00 {"name":',
        '2026-11-20T13:00:00+00:00 {"colour":"red"}',
        '2026-11-20T13:00:00 {"name":{"name":"alice@localhost"}}',
        "2026-11-20T13:00:00+00:00 {}",
    ],
)
async def test_a_record_that_cannot_be_read_is_dropped(record: str, manual_clock: ManualClock) -> None:
    records = MemoryRecords()
    records.put(COLLECTION, "alice@localhost", record)
    directory = _unconnected(manual_clock, records)
    assert records.all(COLLECTION) == {}
    alice = AgentIdentifier(name="alice@localhost")
    assert await directory.search(Search(), _asked_by(alice)) == Found(descriptions=())


class FullDisk(MemoryRecords):
    is_full = False

    def put(self, collection: str, key: str, text: str) -> None:
        if self.is_full:
            raise StoreError(Path("society.sqlite"), "cannot grow, because the disk is full; make room")
        super().put(collection, key, text)

    def remove(self, collection: str, key: str) -> None:
        if self.is_full:
            raise OSError("the disk is read-only")
        super().remove(collection, key)


async def test_what_cannot_be_recorded_holds_until_a_restart(manual_clock: ManualClock) -> None:
    records, facts = FullDisk(), []
    directory = _unconnected(manual_clock, records, facts.append)
    alice, bob = (AgentIdentifier(name=f"{name}@localhost") for name in ("alice", "bob"))
    entry = DfAgentDescription(name=alice, lease_time=60.0)
    await directory.register(Register(description=entry), _asked_by(alice))
    manual_clock.advance(50)
    records.is_full = True
    assert await directory.modify(Modify(description=entry), _asked_by(alice)) == Registered(lease_time=60.0)
    await directory.register(Register(description=DfAgentDescription(name=bob)), _asked_by(bob))
    manual_clock.advance(50)
    assert await _names(directory) == ["alice", "bob"]
    manual_clock.advance(10)
    assert await _names(directory) == ["bob"]
    assert await directory.deregister(Deregister(name=bob), _asked_by(bob)) == Done()
    assert await _names(directory) == []
    assert [type(fact) for fact in facts] == [RecordNotKept] * 4
    assert facts[0].text == "the database society.sqlite cannot grow, because the disk is full; make room"
    assert [fact.key.partition("@")[0] for fact in facts] == ["alice", "bob", "alice", "bob"]


@pytest.mark.parametrize(
    "long", ["x" * DESCRIPTION_BYTES, '"<&' * (DESCRIPTION_BYTES // 11), "\u00e9" * 8_000]
)
async def test_a_description_has_a_limit(long: str, manual_clock: ManualClock) -> None:
    """As it is sent: escaped, and in bytes."""
    directory = _unconnected(manual_clock)
    alice = AgentIdentifier(name="alice@localhost")
    entry = DfAgentDescription(name=alice, services=(ServiceDescription(name=long),))
    for answer in (
        await directory.register(Register(description=entry), _asked_by(alice)),
        await directory.modify(Modify(description=entry), _asked_by(alice)),
    ):
        assert isinstance(answer, Refuse)
        assert answer.text.startswith("the description takes ")
        assert answer.text.endswith(" bytes, and 16,000 are kept; shorten it")
    assert await _names(directory) == []


async def test_an_entry_that_does_not_fit_hides_no_other(
    manual_clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agents.directory_facilitator, "ANSWER_BYTES", 900)
    directory = _unconnected(manual_clock)
    for name, quotes in (("alice", 1), ("bob", 200), ("carol", 1)):
        agent = AgentIdentifier(name=f"{name}@localhost")
        entry = DfAgentDescription(name=agent, services=(ServiceDescription(name="&" * quotes),))
        await directory.register(Register(description=entry), _asked_by(agent))
    assert await _names(directory) == ["alice", "carol"]


async def _names(directory: DirectoryFacilitator) -> list[str]:
    found: Any = await directory.search(Search(), _asked_by(AgentIdentifier(name="anyone@localhost")))
    return [each.name.local_name for each in found.descriptions]


def _unconnected(
    clock: ManualClock, records: MemoryRecords | None = None, hook: Hook = ignore
) -> DirectoryFacilitator:
    ports = Ports(clock=clock, records=records or MemoryRecords(), hook=hook)
    return DirectoryFacilitator(DIRECTORY, "secret", Server(host="127.0.0.1"), ports)


def _asked_by(agent: AgentIdentifier) -> Any:
    class Task:
        initiator = agent

    return Task()
