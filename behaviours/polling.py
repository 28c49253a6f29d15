"""The initiator of a vote: a value is put to agents, and commits with a quorum of them (`protocols.vote`).

All conversations of a vote are one work (`chronicling.Work`), whose commits are one after the other. So the
decision is said to every voter in one commit, before any of them hears of it: a process that dies has decided
for all of them or for none. One that comes back goes on with what stands in the journal. A decision that is
written stands; where there is none, the votes that were heard count, and those that may still come in time.

A voter that may be bound is told until it says that it has applied the decision, also after it was away.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from typing import Any, Literal

from behaviours.chronicling import current
from behaviours.clocking import after
from behaviours.conversing import Seat
from behaviours.following import follow
from behaviours.initiating import REPLY_WITHIN, Hub, opening, outcome_of
from behaviours.outcomes import Failed, Outcome, Refused, Succeeded
from behaviours.stepping import Heard, Lost, Told
from behaviours.transport import Life
from behaviours.understanding import ontology_with
from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from ontology.content import LANGUAGE, AgentAction, Reason
from ontology.errors import Cause
from ontology.interaction import INTERACTION, Aborted, Committed
from protocols.history import Said
from protocols.vote import ABORTED, COMMITTED, REJECTED, UNDECIDED, VOTE

Quorum = int | Literal["majority", "all"]
"""How many must accept; ``majority`` is more than half of the voters."""

QUORUM = "X-quorum"
"""The user-defined parameter in which the propose names the quorum, as a number."""

BOUND_WITHIN = 86_400.0
"""Seconds for which a voter that may have accepted is told of the decision, should it be away."""

TOLD_WITHIN = 300.0
"""Seconds for one that has rejected. It is bound by nothing, and is told so that all learn."""

TELL_FIRST, TELL_MOST, PROBE_WITHIN = 1.0, 60.0, 5.0
"""Seconds between two looks at whether a voter is back that could not be told, and for its answer."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """How a vote ended. It is written down, and stands."""

    conversation_id: str
    is_committed: bool
    quorum: int
    """How many acceptances it took."""
    votes: Mapping[str, Outcome]
    """Voter's name to its vote, in the order of asking: `Succeeded` accepts, `Refused` rejects and tells why.
    Anything else is none: no answer in time, no way to reach it, not understood. Whoever was not waited for,
    as it was decided without it, is missing."""
    silent: tuple[str, ...]
    """Who has voted neither way, in the order of asking."""

    @property
    def accepted(self) -> tuple[str, ...]:
        """Who has accepted, in the order of asking."""
        return tuple(name for name, vote in self.votes.items() if isinstance(vote, Succeeded))

    @property
    def rejected(self) -> tuple[str, ...]:
        """Who has rejected, likewise."""
        return tuple(name for name, vote in self.votes.items() if isinstance(vote, Refused))


async def call_for_votes(
    hub: Hub,
    voters: Iterable[AgentIdentifier],
    value: AgentAction,
    *,
    quorum: Quorum = "majority",
    within: float = REPLY_WITHIN,
) -> Decision | Failed:
    """Put a value to the vote, and return as soon as the decision is written down.

    It is decided as soon as the votes that have come leave no doubt, at the latest after `within` seconds.
    Whoever has not voted by then counts as not accepting, and learns the decision as all others do.
    Cancelling it before the decision aborts; after it, changes nothing.

    Args:
        hub: our mailroom.
        voters: who is to vote.
        value: what is put to the vote.
        quorum: how many must accept.
        within: seconds for the votes.

    Returns:
        `Failed` where the decision is not ours any more: we were stopped, or another replica goes on with it.

    Raises:
        ValueError: there are no such voters, there is no such quorum, or no time; nobody has been asked.
        TypeError: the value is no action, or the quorum no number. Likewise.
    """
    asked = tuple(voters)
    needed = _checked(asked, value, quorum, within)
    message = opening(
        hub, Performative.PROPOSE, VOTE, ontology_with(value, hub.ontologies), value, within
    ).model_copy(update={"user_parameters": {QUORUM: str(needed)}})
    poll = _Poll(hub, needed)
    # What is begun of our own accord has a work for each conversation; these belong together.
    work = current.set(current.get())
    try:
        for peer in asked:
            poll.seats.append(hub.open(VOTE, message.model_copy(update={"receiver": (peer,)}), peer))
            current.set(poll.seats[0].chronicle.work)
    except BaseException:
        poll.abandon()
        raise
    finally:
        current.reset(work)
    try:
        return await poll.run()
    except asyncio.CancelledError:
        poll.abandon()
        raise


def see_through(
    hub: Hub, seats: Sequence[Seat], opening: AclMessage | None
) -> list[Coroutine[Any, Any, Any]]:
    """What is to be done about conversations whose driver is gone: those of a vote are decided together.

    Args:
        hub: our mailroom.
        seats: our ends of them, as their initiator, all of one work.
        opening: the first message of the first one, where its result may still be of use.
    """
    votes: dict[str, list[Seat]] = {}
    for seat in seats:
        if seat.protocol is VOTE:
            votes.setdefault(seat.conversation.conversation_id, []).append(seat)
    others = [seat for seat in seats if seat.protocol is not VOTE]
    found: list[Coroutine[Any, Any, Any]] = [
        follow(hub, seat, is_wanted=opening is not None) for seat in others
    ]
    for group in votes.values():
        poll = _Poll(hub, _quorum_of(opening, len(group)), group)
        found.append(poll.conclude(is_wanted=opening is not None))
    return found


def _quorum_of(opening: AclMessage | None, voters: int) -> int:
    told = "" if opening is None else opening.user_parameters.get(QUORUM, "")
    return int(told) if told.isdecimal() else voters // 2 + 1


def _checked(voters: Sequence[AgentIdentifier], value: object, quorum: object, within: float) -> int:
    """How many must accept.

    Raises:
        ValueError: as in `call_for_votes`.
        TypeError: likewise.
    """
    if not isinstance(value, AgentAction):
        kind = type(value).__name__
        raise TypeError(f"what is put to the vote is an action of an ontology (AgentAction), not a {kind}")
    if not voters:
        raise ValueError("a vote needs voters: name at least one agent")
    names = [each.name for each in voters]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"{twice} is named as a voter twice: name each voter once")
    if not 0 < within < math.inf:
        raise ValueError(f"voters need time: within is a positive number of seconds, not {within:g}")
    many = len(names)
    if quorum == "majority":
        return many // 2 + 1
    if quorum == "all":
        return many
    if isinstance(quorum, bool) or not isinstance(quorum, int):
        raise TypeError(f"the quorum is a number, 'majority' or 'all', not {quorum!r}")
    if not 1 <= quorum <= many:
        raise ValueError(f"a quorum of {quorum} of {many} voters cannot be: write a number from 1 to {many}")
    return quorum


class _Poll:
    """One vote.

    Args:
        hub: our mailroom.
        quorum: how many must accept.
        seats: our conversations with the voters.
    """

    def __init__(self, hub: Hub, quorum: int, seats: Iterable[Seat] = ()) -> None:
        self._hub, self._quorum = hub, quorum
        self.seats = list(seats)
        self._votes: dict[str, Outcome] = {}
        self._is_decided = False

    async def run(self) -> Decision | Failed:
        """Collect the votes, decide, and return once that is written down."""
        before = self._decided_before()
        await self._collect(is_decided=before is not None)
        is_committed = self._accepted >= self._quorum if before is None else before
        seats = {seat.conversation.peer: seat for seat in self.seats}
        votes = {name: self._votes[name] for name in seats if name in self._votes}
        is_untold = any(not seat.is_over for seat in self.seats)  # else no voter has understood what it was
        if is_untold and not (self._is_ours and await self._decide(is_committed=is_committed)):
            text = f"{self._hub.me.local_name} does not go on with this vote: it was stopped, or replaced"
            return Failed(Reason(cause=Cause.UNREACHABLE, text=text, about=self._hub.me.name))
        return Decision(
            conversation_id=self.seats[0].conversation.conversation_id,
            is_committed=is_committed,
            quorum=self._quorum,
            votes=votes,
            silent=tuple(name for name in seats if not isinstance(votes.get(name), Succeeded | Refused)),
        )

    async def conclude(self, *, is_wanted: bool) -> None:
        """See a vote to its end that nobody here waits for."""
        if any(seat.conversation.state in UNDECIDED for seat in self.seats):
            if is_wanted:
                await self.run()
            else:
                self.abandon()
        else:
            await self._tell_all()

    def abandon(self) -> None:
        """Abort, if nothing has been decided."""
        if self.seats and not self._is_decided and self._is_ours:
            before = self._decided_before()
            self._say(is_committed=bool(before))

    @property
    def _accepted(self) -> int:
        return sum(isinstance(vote, Succeeded) for vote in self._votes.values())

    @property
    def _is_ours(self) -> bool:
        """Whether what we decide will be written down; not once we are stopped or replaced."""
        work = self.seats[0].chronicle.work
        return not (work.is_over or work.lane.is_taken)

    def _decided_before(self) -> bool | None:
        """What a former life has decided, and told in one commit; None where it had not."""
        for seat in self.seats:
            for event in seat.chronicle.left:
                if isinstance(event, Said) and event.message.performative is Performative.INFORM:
                    return event.message.content == INTERACTION.render(Committed())
        return None

    async def _collect(self, *, is_decided: bool) -> None:
        """Wait for votes until no further one can change the decision."""
        answers = {asyncio.ensure_future(self._vote(seat)): seat for seat in self.seats}
        heard = [each for each, seat in answers.items() if seat.has_steps]
        if heard:  # before a restart; each is there at once
            await asyncio.wait(heard)
        try:
            while True:
                for each in [each for each in answers if each.done()]:
                    self._votes[answers.pop(each).conversation.peer] = each.result()
                if is_decided or not answers or not self._is_open(len(answers)):
                    return
                await asyncio.wait(answers, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in answers:
                each.cancel()

    def _is_open(self, outstanding: int) -> bool:
        accepted = self._accepted
        return accepted < self._quorum <= accepted + outstanding

    async def _vote(self, seat: Seat) -> Outcome:
        while isinstance(step := await seat.step(), Told):
            pass
        return outcome_of(self._hub, seat, step)

    async def _decide(self, *, is_committed: bool) -> bool:
        """Say the decision to all voters; whether it is written down."""
        written: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def settle(is_written: bool) -> None:
            if not written.done():
                written.set_result(is_written)

        telling = self._say(is_committed=is_committed)
        telling.add_done_callback(lambda task: settle(False) if task.cancelled() else None)
        self.seats[0].chronicle.work.lane.note(then=lambda: settle(True), lost=lambda: settle(False))
        return await written

    def _say(self, *, is_committed: bool) -> asyncio.Task[None]:
        # Nothing is awaited in here, so that all of it goes into one commit.
        self._is_decided = True
        for seat in self.seats:
            if seat.conversation.state in UNDECIDED:
                within = TOLD_WITHIN if seat.conversation.state == REJECTED else BOUND_WITHIN
                _inform(seat, is_committed=is_committed, until=after(self._hub.now(), within))
        task = asyncio.get_running_loop().create_task(self._tell_all())
        self._hub.keep(task)
        return task

    async def _tell_all(self) -> None:
        await asyncio.gather(*(self._tell(seat) for seat in self.seats))

    async def _tell(self, seat: Seat) -> None:
        """Wait until a voter has applied the decision; tell it again if it may not have heard of it.

        One whose vote comes late may have heard of it before it was asked, and not known what it was about.
        """
        while not seat.is_over:
            step = await seat.step()
            if isinstance(step, Lost) or (isinstance(step, Heard) and step.message.performative in _VOTES):
                await self._return(seat)
                if (state := seat.conversation.state) in {COMMITTED, ABORTED}:
                    _inform(seat, is_committed=state == COMMITTED, until=seat.conversation.deadline)

    async def _return(self, seat: Seat) -> None:
        """Wait until a voter is there again, or nobody waits for it any more."""
        transport = self._hub.transport
        for attempt in count():
            await asyncio.sleep(min(TELL_FIRST * 2 ** min(attempt, 10), TELL_MOST))
            if seat.is_over:
                return
            if not transport.is_online:
                continue
            # Of one that we have never heard of we know no session that could be asked.
            if "/" not in seat.peer.jid or self._hub.seek(seat):
                return
            if await transport.probe(seat.peer.jid, PROBE_WITHIN) is Life.ALIVE:
                return


_VOTES = frozenset({Performative.ACCEPT_PROPOSAL, Performative.REJECT_PROPOSAL})


def _inform(seat: Seat, *, is_committed: bool, until: datetime | None) -> None:
    """Tell a voter what is decided; nobody waits for it to be applied after that time."""
    seat.office = None  # whoever has accepted is bound until it hears this, whoever leads by now
    # It names no reply-with: a vote that crosses it answers the propose, and is in sequence.
    message = AclMessage(
        performative=Performative.INFORM,
        receiver=(seat.peer,),
        content=INTERACTION.render(Committed() if is_committed else Aborted()),
        language=LANGUAGE,
        ontology=INTERACTION.label,
        protocol=VOTE.name,
        conversation_id=seat.conversation.conversation_id,
    )
    seat.say(message, until)
