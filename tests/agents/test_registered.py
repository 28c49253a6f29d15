"""An agent's entry in the directory: written when it starts, kept alive, and taken out when it stops."""

from __future__ import annotations

import asyncio
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

import agents.registered
from agents.base import LocutionAgent
from agents.directory_facilitator import DirectoryFacilitator
from agents.registered import RegisteredAgent
from behaviours.events import ConversationEnded, MessageReceived, MessageUndelivered
from behaviours.handlers import on
from behaviours.outcomes import Answer, Failed, Refused
from behaviours.participating import Participation
from ontology.content import Done
from ontology.errors import Cause
from ontology.management import DfAgentDescription, Found, Search, ServiceDescription
from tests.agents.conftest import DIRECTORY, Society, disconnect_for_good
from tests.conftest import PATIENCE, World

SUMS = ServiceDescription(name="sums", type="arithmetic")
ROOTS = ServiceDescription(name="roots", type="arithmetic")


class Shop(RegisteredAgent):
    """Offers what it is told to."""

    def __init__(self, *args: Any, offers: tuple[ServiceDescription, ...] = (SUMS,), **settings: Any) -> None:
        super().__init__(*args, directory=DIRECTORY, **settings)
        self.offers = offers

    def services(self) -> tuple[ServiceDescription, ...]:
        return self.offers

    @on(Search)
    async def search(self, _action: Search, _task: Participation) -> Answer:
        return Done()


class Naps:
    """What `agents.registered` slept, in seconds; each nap ends at once, or when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.taken: list[float] = []
        self._began = asyncio.Condition()
        self.over = asyncio.Event()
        self.over.set()
        shim = SimpleNamespace(sleep=self.sleep, Lock=asyncio.Lock, timeout=asyncio.timeout)
        monkeypatch.setattr(agents.registered, "asyncio", shim)

    async def sleep(self, seconds: float) -> None:
        self.taken.append(seconds)
        async with self._began:
            self._began.notify_all()
        await self.over.wait()

    async def begun(self, count: int) -> None:
        """Wait until so many naps have begun."""
        async with asyncio.timeout(PATIENCE), self._began:
            await self._began.wait_for(lambda: len(self.taken) >= count)


async def services_of(client: LocutionAgent) -> dict[str, list[str | None]]:
    outcome: Any = await client.request(DIRECTORY, Search())
    assert isinstance(outcome.result, Found)
    found = outcome.result.descriptions
    return {each.name.local_name: [service.name for service in each.services] for each in found}


def said_to_directory(world: World, agent: LocutionAgent) -> int:
    return len(world.of(MessageReceived, agent=DIRECTORY, performative="request", peer=agent.me.name))


async def test_it_is_entered_with_all_that_others_need_to_know(society: Society) -> None:
    shop = await society.world.start(Shop, "shop")
    await society.entered(shop)
    outcome: Any = await society.client.request(DIRECTORY, Search())
    (entry,) = outcome.result.descriptions
    assert entry.name == shop.me
    assert entry.services == (SUMS,)
    assert entry.protocols == ("fipa-request",)  # it has a handler for no other
    assert entry.ontologies == ("locution-learning/1.2", "fipa-agent-management/1.3")
    assert entry.languages == ("json",)
    assert 50 < entry.lease_time <= 60


async def test_without_services_it_stays_out(society: Society, monkeypatch: pytest.MonkeyPatch) -> None:
    naps = Naps(monkeypatch)
    naps.over.clear()
    shop = await society.world.start(partial(Shop, offers=()), "shop")
    await shop.describe()
    assert said_to_directory(society.world, shop) == 0
    assert await services_of(society.client) == {}


async def test_it_tries_again_until_there_is_a_directory(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agents.registered, "delay", lambda *_args, **_limits: 0.01)
    shop = await world.start(Shop, "shop")
    await world.fact(MessageUndelivered, count=2, agent=shop.me.name, cause=Cause.UNREACHABLE)
    client = await world.start(LocutionAgent, "client")
    await world.start(DirectoryFacilitator, "directory")
    await world.fact(ConversationEnded, agent=shop.me.name, peer=DIRECTORY, state="DONE")
    assert await services_of(client) == {"shop": ["sums"]}
    await shop.stop()


async def test_it_waits_longer_after_each_failure(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    naps = Naps(monkeypatch)
    monkeypatch.setattr(agents.registered.random, "random", lambda: 1.0)
    shop = await world.start(Shop, "shop")
    await naps.begun(7)
    assert naps.taken[:7] == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    assert not shop.entry.is_entered


async def test_a_directory_that_is_not_there_is_asked_once_a_try(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    naps = Naps(monkeypatch)
    naps.over.clear()
    shop = await world.start(Shop, "shop")
    await naps.begun(1)
    assert len(world.of(ConversationEnded, agent=shop.me.name)) == 1


async def test_it_renews_at_a_third_of_what_is_granted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    naps = Naps(monkeypatch)
    await world.start(partial(DirectoryFacilitator, longest_lease=30.0), "directory")
    shop = await world.start(partial(Shop, lease=45.0), "shop")
    facts = {"agent": shop.me.name, "peer": DIRECTORY, "state": "DONE"}
    await world.fact(ConversationEnded, count=4, **facts)
    assert set(naps.taken) == {10.0}
    assert len(world.of(ConversationEnded, agent=shop.me.name)) == len(world.of(ConversationEnded, **facts))


async def test_a_lease_as_short_as_its_life_is_kept_alive(world: World) -> None:
    await world.start(DirectoryFacilitator, "directory")
    shop = await world.start(partial(Shop, lease=0.6), "shop")
    await world.fact(ConversationEnded, count=5, agent=shop.me.name, peer=DIRECTORY, state="DONE")
    assert await services_of(shop) == {"shop": ["sums"]}


async def test_a_directory_that_forgot_it_is_told_again(
    society: Society, monkeypatch: pytest.MonkeyPatch
) -> None:
    naps = Naps(monkeypatch)
    naps.over.clear()
    shop = await society.world.start(Shop, "shop")
    await society.entered(shop)
    await society.directory.stop()
    await society.world.start(DirectoryFacilitator, "directory")
    assert await services_of(society.client) == {}
    naps.over.set()
    await society.world.fact(ConversationEnded, agent=shop.me.name, state="FAILED")
    await society.entered(shop, count=2)
    assert await services_of(society.client) == {"shop": ["sums"]}
    await shop.stop()


async def test_a_directory_that_knows_it_from_before_is_corrected(society: Society) -> None:
    """The process died and was started again: the old entry still stands."""
    first = await society.world.start(Shop, "shop")
    await society.entered(first)
    await disconnect_for_good(first)
    await first.stop()
    second = await society.world.start(partial(Shop, offers=(ROOTS,)), "shop")
    await society.world.fact(ConversationEnded, agent=second.me.name, state="FAILED")
    await society.entered(second, count=2)
    assert await services_of(society.client) == {"shop": ["roots"]}


async def test_it_leaves_when_it_stops(society: Society) -> None:
    shop = await society.world.start(Shop, "shop")
    await society.entered(shop)
    await shop.stop()
    assert await services_of(society.client) == {}
    assert not shop.entry.is_entered


class Forgetful(Shop):
    """Has a start and an end of its own, and calls no super()."""

    async def on_ready(self) -> None:
        self.was_entered = [self.entry.is_entered]

    async def on_stop(self) -> None:
        self.was_entered.append(self.entry.is_entered)
        raise LookupError("forgot something")


async def test_it_is_entered_and_taken_out_whatever_a_subclass_does_meanwhile(society: Society) -> None:
    shop = await society.world.start(Forgetful, "shop")
    await society.entered(shop)
    assert await services_of(society.client) == {"shop": ["sums"]}
    with pytest.raises(LookupError):
        await shop.stop()
    assert await services_of(society.client) == {}
    assert shop.was_entered == [False, True]
    shop._stopping = None  # the world stops it as well


async def test_one_that_stops_itself_at_its_start_does_not_enter(society: Society) -> None:
    class Brief(Shop):
        async def on_ready(self) -> None:
            await self.stop()

    shop = await society.world.start(Brief, "shop")
    assert not shop.behaviours
    assert await services_of(society.client) == {}


async def test_it_stops_also_where_the_directory_is_gone(
    society: Society, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agents.registered, "LEAVE_WITHIN", 0.3)
    shop = await society.world.start(Shop, "shop")
    await society.entered(shop)
    await society.directory.stop()
    async with asyncio.timeout(4):  # the server keeps what is said to a directory that is away
        await shop.stop()
    assert not shop.is_alive()


async def test_a_change_is_told_at_once(society: Society) -> None:
    shop = await society.world.start(Shop, "shop")
    await society.entered(shop)
    shop.offers = (SUMS, ROOTS)
    await shop.describe()
    assert await services_of(society.client) == {"shop": ["sums", "roots"]}
    shop.offers = ()
    await shop.describe()
    assert await services_of(society.client) == {}
    shop.offers = (ROOTS,)
    await shop.describe()
    assert await services_of(society.client) == {"shop": ["roots"]}


async def test_changes_at_the_same_time_end_with_the_last(society: Society) -> None:
    shop = await society.world.start(Shop, "shop")
    await society.entered(shop)
    changes = []
    for offers in ((SUMS, ROOTS), (), (SUMS,), (), (ROOTS,)):
        shop.offers = offers
        changes.append(asyncio.ensure_future(shop.describe()))
        await asyncio.sleep(0)
    await asyncio.gather(*changes)
    assert await services_of(society.client) == {"shop": ["roots"]}
    assert not society.world.of(ConversationEnded, agent=shop.me.name, state="FAILED")


async def test_a_stopped_agent_tells_nothing(society: Society) -> None:
    shop = await society.world.start(Shop, "shop")
    await society.entered(shop)
    await shop.stop()
    told = said_to_directory(society.world, shop)
    await shop.describe()
    assert said_to_directory(society.world, shop) == told


async def test_it_finds_who_offers_all_of_some_services(society: Society) -> None:
    both = await society.world.start(partial(Shop, offers=(SUMS, ROOTS)), "both")
    one = await society.world.start(partial(Shop, offers=(SUMS,)), "one")
    await society.entered(both)
    await society.entered(one)
    names = []
    for services in ((SUMS,), (SUMS, ROOTS), (ServiceDescription(type="poetry"),)):
        found = await one.find(*services)
        assert not isinstance(found, Failed)
        names.append([each.name.local_name for each in found if each.name])
    assert names == [["both", "one"], ["both"], []]


async def test_a_search_without_directory_says_so(world: World) -> None:
    shop = await world.start(Shop, "shop")
    found = await shop.find(SUMS)
    assert isinstance(found, Failed)
    assert found.reason.cause == Cause.UNREACHABLE
    assert found.reason.text.startswith("the directory directory@localhost could not be searched: directory@")


async def test_a_directory_that_is_none_is_no_directory(world: World) -> None:
    """Some agent has the directory's name, and does not know what is asked of it."""
    await world.start(LocutionAgent, "directory")
    shop = await world.start(Shop, "shop")
    ended = await world.fact(ConversationEnded, agent=shop.me.name, peer=DIRECTORY)
    assert ended.state == "REFUSED"
    assert not shop.entry.is_entered
    found = await shop.find(SUMS)
    assert isinstance(found, Failed)
    assert "search is an action that directory does not do" in found.reason.text


async def test_nobody_registers_for_somebody_else(society: Society) -> None:
    shop = await society.world.start(Shop, "shop")
    await society.entered(shop)
    description = DfAgentDescription(name=shop.me)
    outcome = await society.client.request(DIRECTORY, agents.registered.Modify(description=description))
    assert isinstance(outcome, Refused)
    assert await services_of(society.client) == {"shop": ["sums"]}
