"""Task groups of agents over a real server: one leads, the others stand by, a former leader is not obeyed."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from behaviours.events import ElectionDown, ElectionUp, LeaderDeposed, LeaderElected, MessageReceived
from behaviours.fencing import GROUP, TERM, Office, acting
from behaviours.grouping import Group, NotLeadingError, leader_only
from behaviours.handlers import on
from behaviours.outcomes import Answer, Fail, Refused, Succeeded, sentence
from behaviours.participating import Participation
from ontology.acl import AclMessage
from resilience.election import ElectionError
from resilience.memory import MemoryLock
from tests.behaviours.samples import Add, Adder, Asker, Forward, Sum
from tests.conftest import World, becomes


class Member(Asker):
    """Passes sums on, if it leads."""

    def __init__(self, *who: Any) -> None:
        super().__init__(*who)
        self.changes: list[tuple[str, int]] = []

    @on(Forward)
    @leader_only("sums")
    async def forward(self, action: Forward, _task: Participation) -> Answer:
        """Have somebody else add."""
        outcome = await self.request(action.to, Add())
        return outcome.result if isinstance(outcome, Succeeded) else Fail("no-sum", sentence(outcome))

    async def on_elected(self, group: Group) -> None:
        """Take note."""
        self.changes.append(("elected", group.term))

    async def on_deposed(self, group: Group) -> None:
        """Take note."""
        self.changes.append(("deposed", group.term))


async def members(world: World, lock: MemoryLock, *names: str, **ports: Any) -> list[Member]:
    """Start members of one group, the first of which leads."""
    made = []
    for name in names:
        member = await world.start(Member, name, lock=lock, **ports)
        await member.group("sums").join()
        made.append(member)
    return made


async def test_one_leads_and_whoever_stands_by_refuses(world: World) -> None:
    lock, said = MemoryLock(), list[AclMessage]()
    first, second = await members(world, lock, "first", "second", record=said.append)
    adder, asker = await world.start(Adder, "adder"), await world.start(Asker, "asker")
    assert first.group("sums").is_leader
    assert not second.group("sums").is_leader
    refused = await asker.request(second.me, Forward(to=adder.me.name))
    assert isinstance(refused, Refused)
    assert refused.reason.text == "second stands by; ask the leader of sums, whom the directory names"
    done = await asker.request(first.me, Forward(to=adder.me.name))
    assert isinstance(done, Succeeded)
    assert done.result == Sum(value=3)
    (request,) = [each for each in said if each.receiver and each.receiver[0].local_name == "adder"]
    assert {name: request.user_parameters[name] for name in (GROUP, TERM)} == {GROUP: "sums", TERM: "1"}
    answers = [each for each in said if each.receiver and each.receiver[0].local_name == "asker"]
    assert [GROUP in each.user_parameters for each in answers] == [False, True], "in its office"
    with pytest.raises(NotLeadingError, match=r"^second does not lead sums and cannot act as if it did$"):
        second.group("sums").acting().__enter__()
    assert acting.get() is None


async def test_the_next_leads_in_a_later_term_and_the_former_one_is_not_obeyed(world: World) -> None:
    lock = MemoryLock()
    first, second = await members(world, lock, "first", "second")
    adder, asker = await world.start(Adder, "adder"), await world.start(Asker, "asker")
    assert isinstance(await asker.request(first.me, Forward(to=adder.me.name)), Succeeded)
    await first.group("sums").leave()
    await world.fact(LeaderElected, agent=second.me.name)
    await becomes(lambda: second.changes == [("elected", 2)])
    assert first.changes == [("elected", 1), ("deposed", 1)]
    assert not first.group("sums").is_leader
    assert isinstance(await asker.request(second.me, Forward(to=adder.me.name)), Succeeded)
    # It was frozen and knows of nothing.
    token = acting.set(Office(group="sums", term=1))
    late = await first.request(adder.me, Add())
    acting.reset(token)
    assert isinstance(late, Refused)
    assert late.reason.text.startswith("the leader of sums in term 1 was followed by that of term 2")
    assert len(world.of(MessageReceived, agent=adder.me.name, performative="request")) == 3


async def test_a_member_that_stops_leaves_the_lead_to_another(world: World) -> None:
    lock = MemoryLock()
    first, second = await members(world, lock, "first", "second")
    await first.stop()
    await world.fact(LeaderElected, agent=second.me.name, term=2)
    assert world.of(LeaderDeposed, agent=first.me.name)
    async with second.group("sums") as group:
        assert group.is_leader
        assert group is second.group("sums")
    assert not second.group("sums").is_leader
    async with second.group("sums") as group:
        assert group.is_leader
        assert group.term == 3


async def test_while_nobody_can_say_who_leads_nobody_does(world: World) -> None:
    class Mortal(MemoryLock):
        is_down = True

        async def acquire(self, group: str, candidate: str) -> int | None:
            if self.is_down:
                raise ElectionError("nobody answers")
            return await super().acquire(group, candidate)

    lock = Mortal()
    (member,) = await members(world, lock, "alone")
    (down,) = world.of(ElectionDown)
    assert (down.agent, down.group, down.text) == (member.me.name, "sums", "nobody answers")
    assert not member.group("sums").is_leader
    lock.is_down = False
    await world.fact(LeaderElected, agent=member.me.name, term=1)
    assert (len(world.of(ElectionDown)), len(world.of(ElectionUp))) == (1, 1)


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 101])
async def test_what_can_be_no_name_of_a_group_is_told(world: World, name: str) -> None:
    member = world.make(partial(Member), "member")
    with pytest.raises(ValueError, match="is no name for a group: write 1 to 100 characters on one line"):
        member.group(name)
