"""Any sequence of calls to each binding of the journal, against a model in the plainest words."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from resilience.inbox import Claim, Standing, Terms
from resilience.journal import Effects, Journal, Outcome, Policy
from tests.resilience.conftest import Bench
from tests.resilience.records import ME, hold, letter, outgoing, snapshot

T = TypeVar("T")

TERMS = Terms(lease=10.0, most_attempts=2, retention=4_300.0)

OWNERS = st.sampled_from(("one", "two", "three"))
MESSAGES = st.sampled_from(("m1", "m2"))


@dataclass
class Message:
    """What the model knows of one message."""

    state: str
    owner: str | None
    begun: int
    digest: str
    leased_until: float
    forgotten_at: float
    reply: str = ""


class Calls(RuleBasedStateMachine):
    """Two replicas on one store, and the model."""

    make_bench: Callable[..., Bench]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.bench = type(self).make_bench(policy=Policy(terms=TERMS))
        self.replicas: list[Journal] = [self.do(self.bench.open()) for _number in range(2)]
        self.now = 0.0
        self.messages: dict[str, Message] = {}
        self.snapshots: dict[str, str] = {}
        self.outgoing: list[str] = []
        self.letters: list[str] = []
        self.commits = 0

    def teardown(self) -> None:
        self.do(self.bench.close())
        self.runner.close()

    def do(self, call: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(call)

    def known(self, message_id: str) -> Message | None:
        message = self.messages.get(message_id)
        return None if message is None or self.now >= message.forgotten_at else message

    def held(self, message_id: str, owner: str) -> Message | None:
        message = self.known(message_id)
        return (
            message if message is not None and (message.state, message.owner) == ("working", owner) else None
        )

    def lease(self, message: Message) -> None:
        message.leased_until = self.now + TERMS.lease
        message.forgotten_at = self.now + TERMS.retention

    @rule(seconds=st.sampled_from((1.0, 9.0, 10.0, 4_299.0)))
    def pass_time(self, seconds: float) -> None:
        self.bench.elapse(seconds)
        self.now += seconds

    @rule(
        message_id=MESSAGES,
        owner=OWNERS,
        digest=st.sampled_from("aaab"),
        dead=st.lists(OWNERS, max_size=2),
        replica=st.integers(0, 1),
    )
    def claim(self, message_id: str, owner: str, digest: str, dead: list[str], replica: int) -> None:
        claim = self.do(self.replicas[replica].claim(hold(owner, message_id), digest, dead))
        message = self.known(message_id)
        if message is None:
            message = Message("working", owner, 1, digest, 0, 0)
            self.messages[message_id] = message
            self.lease(message)
            assert claim == Claim(standing=Standing.NEW, attempts=1, is_ours=True)
        elif digest != message.digest:
            assert claim == Claim(standing=Standing.MISMATCH)
        elif message.state != "working":
            standing = Standing(message.state)
            assert claim == Claim(standing=standing, attempts=message.begun, reply=message.reply)
        elif owner != message.owner and message.owner not in dead and self.now < message.leased_until:
            assert claim == Claim(standing=Standing.BUSY, attempts=message.begun)
        else:
            if owner != message.owner:
                message.owner, message.begun = owner, message.begun + 1
            self.lease(message)
            standing = (Standing.NEW, Standing.TAKEOVER, Standing.DEAD)[min(message.begun, 3) - 1]
            assert claim == Claim(standing=standing, attempts=message.begun, is_ours=True)

    @rule(message_id=MESSAGES, owner=OWNERS, replica=st.integers(0, 1))
    def renew(self, message_id: str, owner: str, replica: int) -> None:
        message = self.held(message_id, owner)
        assert self.do(self.replicas[replica].renew(hold(owner, message_id))) == (message is not None)
        if message is not None:
            self.lease(message)

    @rule(message_id=MESSAGES, owner=OWNERS, replica=st.integers(0, 1))
    def release(self, message_id: str, owner: str, replica: int) -> None:
        message = self.held(message_id, owner)
        self.do(self.replicas[replica].release(hold(owner, message_id)))
        if message is not None and message.begun == 1:
            del self.messages[message_id]
        elif message is not None:
            message.owner, message.begun, message.leased_until = None, message.begun - 1, self.now

    @rule(
        message_id=MESSAGES,
        owner=st.one_of(st.none(), OWNERS),
        outcome=st.sampled_from(Outcome),
        replica=st.integers(0, 1),
        removes=st.integers(0, 2),
    )
    def commit(
        self, message_id: str, owner: str | None, outcome: Outcome, replica: int, removes: int
    ) -> None:
        self.commits += 1
        name = f"{self.commits}"
        effects = Effects(
            agent=ME,
            outcome=outcome,
            reply=name,
            put=(snapshot(f"s{self.commits % 3}", name),),
            remove=tuple(sorted(self.snapshots)[:removes]),
            send=(outgoing(name), outgoing(f"also {name}")),
            settled=tuple(self.outgoing[:removes]),
            bury=(letter(name, id=name),),
            drop=tuple(self.letters[:removes]),
        )
        guard = None if owner is None else hold(owner, message_id)
        written = self.do(self.replicas[replica].commit(effects, guard))
        message = self.known(message_id)
        if owner is None:
            applies = ours = True
        else:
            applies = self.held(message_id, owner) is not None
            ours = message is not None and message.owner == owner
        assert written == ours
        if owner is not None and message is not None and applies and outcome is not Outcome.WORKING:
            message.state, message.reply = outcome.value, name
            message.forgotten_at = self.now + TERMS.retention
        if applies:
            self.snapshots[effects.put[0].key] = name
            for key in effects.remove:
                self.snapshots.pop(key, None)
            self.outgoing = [each for each in self.outgoing if each not in effects.settled]
            self.outgoing += [name, f"also {name}"]
            self.letters = [each for each in self.letters if each not in effects.drop] + [name]
        journal = self.replicas[1 - replica]
        assert {each.key: each.text for each in self.do(journal.snapshots(ME))} == self.snapshots
        assert [each.id for each in self.do(journal.outgoing(ME))] == self.outgoing
        assert [each.id for each in self.do(journal.letters(ME))] == self.letters[:-101:-1]


def test_any_sequence_of_calls(make_bench: Callable[..., Bench]) -> None:
    machine = type("CallsToOneBinding", (Calls,), {"make_bench": staticmethod(make_bench)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=60,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
