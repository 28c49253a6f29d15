"""Takes orders and has them done: a client asks for a model, the learners compete for the work.

A train request is answered by a contract net among the learners that the directory names. The award
goes to the bid that promises to be done first; if the winner fails or vanishes, the task is called
again among the others. Predictions and evaluations go to a learner that has the model.

Of several coordinators one leads and offers what they do in the directory, and the others stand by; or each
leads a part of the work (`agents.partitions`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from agents.base import Ports, Server
from agents.bookkeeping import Entry
from agents.partitions import Leadership, Partitions
from agents.registered import RegisteredAgent
from behaviours.contracting import Contract, Observer, Proposal
from behaviours.grouping import Group, standing_by
from behaviours.handlers import on
from behaviours.outcomes import (
    Answer,
    Expired,
    Fail,
    Failed,
    NotUnderstood,
    Outcome,
    Refused,
    Succeeded,
    sentence,
)
from behaviours.participating import Participation
from ontology.content import AgentAction, Predicate, Term
from ontology.errors import Cause
from ontology.management import ServiceDescription
from ontology.quantities import Factor, Seconds, Times
from ontology.tasks import (
    Awarded,
    AwardLost,
    Bid,
    Called,
    Evaluate,
    Predict,
    Progress,
    Proposed,
    Resume,
    TakenOver,
    TaskName,
    Train,
)
from resilience.ledger import DeposedError, Stage

COORDINATION = "coordination"
TRAINING = "training"
INFERENCE = "inference"
"""Types of services in the directory; an inference service is named after the model it has."""

BID_WITHIN = 5.0
"""Seconds that learners have to make a bid: they look at the data first."""

NO_LEARNER = "no learner is in the directory; start one and ask again"

ATTEMPTS = 3

PATIENCE = 10.0
"""How many times the seconds of its bid a winner may take before it is stopped."""

PATIENCE_LEAST = 60.0
"""Seconds that a winner may take whatever it bid."""

RESUMED_WITHIN = 5.0
"""Seconds in which whoever has won a task says to the next leader that it is at work on it."""

ANSWER_WITHIN = 60.0
"""Seconds for predictions and evaluations."""


class Coordinator(RegisteredAgent):
    """Awards training to learners and passes predictions on.

    Args:
        jid: bare JID.
        password: of the account.
        server: where to log in.
        ports: collaborators; the lock elects the leader.
        directory: bare JID of the directory facilitator.
        group: the group of coordinators that elects its leader.
        leadership: "leader": its leader does what all are asked for; "per-task": whoever is asked does it
            (`agents.partitions`). The same for all of a group.
        bid_within: seconds for the bids; the call ends earlier when everyone has answered.
        attempts: how often a task is awarded before it is given up.
        patience: how many times the seconds of its bid a winner may take, `PATIENCE_LEAST` at least.
    """

    def __init__(
        self,
        jid: str,
        password: str,
        server: Server,
        ports: Ports | None = None,
        *,
        directory: str,
        group: str = "coordinators",
        leadership: Leadership = "leader",
        bid_within: Seconds = BID_WITHIN,
        attempts: Times = ATTEMPTS,
        patience: Factor = PATIENCE,
    ) -> None:
        super().__init__(jid, password, server, ports, directory=directory)
        self._group, self._bid_within, self._attempts = group, bid_within, attempts
        self._patience = patience
        self._partitions = Partitions(self, group, leadership)

    @property
    def is_leader(self) -> bool:
        """Whether we lead the coordinators, or of their partitions our own."""
        return self.group(self._partitions.own).is_leader

    def services(self) -> tuple[ServiceDescription, ...]:
        """The leader offers coordination; those that stand by offer nothing."""
        return (ServiceDescription(name=self._group, type=COORDINATION),) if self.is_leader else ()

    async def _hook_after_ready(self) -> None:
        """Stand for election and enter the directory."""
        await self._partitions.join()
        await super()._hook_after_ready()

    async def on_elected(self, group: Group) -> None:
        """Go on with what the leader before has left, and enter the directory."""
        self._partitions.begin(group)
        await self.describe()

    async def on_deposed(self, group: Group) -> None:
        """Leave the tasks and the directory to the next."""
        self._partitions.end(group)
        await self.describe()

    async def on_members(self, group: Group) -> None:
        """Stand by for those that are new."""
        self._partitions.learn()

    @on(Train)
    async def train(self, action: Train, task: Participation) -> Answer:
        """Have a model trained by the learner that promises to be done first."""
        group, books = self._partitions.of(task)
        if books.leaves(task) or not group.is_leader:
            return standing_by(self.me, group.name)
        try:
            with group.acting(task):
                async with books.kept(task) as entry:
                    task.agree()
                    return await self._have_trained(action, task, entry)
        except DeposedError:
            return standing_by(self.me, group.name)

    async def _have_trained(self, action: Train, task: Participation, entry: Entry) -> Answer:
        tell = _teller(task) if action.notify else _silent
        # Its name lets a learner tell it from others, whoever leads and however often it is called for.
        named = action.model_copy(update={"task": TaskName(id=task.id, client=task.initiator.name)})
        lost = dict(entry.task.lost)
        begins_anew, former = entry.task.stage is Stage.ACCEPTED, entry.task.winner
        if entry.is_followed:  # whoever waits for the leader before waits for us from now on
            task.tell(TakenOver(task=task.id, leader=self.me.name))
        for attempt in range(entry.task.attempt + begins_anew, self._attempts + 1):
            winner, former = former, ""
            outcome = await self._resume(winner, named, entry, tell) if winner else None
            if outcome is None:
                found = await self._learners(ServiceDescription(type=TRAINING))
                if isinstance(found, Fail):
                    return found
                # Whoever lost an award is called again only when nobody else is left.
                names = [name for name in found if name not in lost] or found
                if not names:
                    return Fail(Cause.NO_PROPOSAL, NO_LEARNER)
                tell(Called(task=task.id, learners=tuple(names), attempt=attempt))
                contract = await self._contract(names, named, attempt, entry, tell)
                if not contract.awards:
                    return Fail(Cause.NO_PROPOSAL, _nobody(contract, lost))
                ((winner, outcome),) = contract.awards.items()
            if isinstance(outcome, Succeeded):
                return outcome.result
            lost[winner] = sentence(outcome)
            entry.lost(winner, lost[winner])
            tell(AwardLost(task=task.id, learner=winner, text=lost[winner]))
            if not _is_worth_another_try(outcome):
                return Fail(Cause.UNSUPPORTED_VALUE, _listed({winner: lost[winner]}))
        return Fail(
            Cause.INTERNAL_ERROR, f"the task was awarded {self._attempts} times in vain: {_listed(lost)}"
        )

    @on(Predict)
    async def predict(self, action: Predict, _task: Participation) -> Answer:
        """Have rows predicted by a learner that has the model."""
        return await self._pass_on(action, action.model)

    @on(Evaluate)
    async def evaluate(self, action: Evaluate, _task: Participation) -> Answer:
        """Have a model measured by a learner that has it."""
        return await self._pass_on(action, action.model)

    async def _resume(
        self, winner: str, action: Train, entry: Entry, tell: Callable[[Predicate], None]
    ) -> Outcome | None:
        """Have a learner that the leader before has awarded the task to answer us; None if it has no such."""
        if action.task is None:
            return None
        outcome = await self.request(
            winner,
            Resume(task=action.task),
            reply_within=RESUMED_WITHIN,
            result_within=self._patience_for(entry.task.promised),
            on_notice=_following(entry, tell),
        )
        return None if isinstance(outcome, Refused | NotUnderstood) else outcome

    async def _contract(
        self,
        names: Iterable[str],
        action: Train,
        attempt: int,
        entry: Entry,
        tell: Callable[[Predicate], None],
    ) -> Contract:
        task, promised = entry.task.id, dict[str, float]()
        noticed = _following(entry, tell)

        def answered(learner: str, answer: Proposal | Outcome) -> None:
            if isinstance(answer, Proposal) and isinstance(answer.term, Bid):
                promised[learner] = answer.term.seconds
                tell(Proposed(task=task, learner=learner, bid=answer.term))
            elif isinstance(answer, Proposal):
                tell(Proposed(task=task, learner=learner, declined=f"no bid but {answer.term.tag}"))
            elif _is_silent(answer):
                tell(Proposed(task=task, learner=learner, silent=sentence(answer)))
            else:
                tell(Proposed(task=task, learner=learner, declined=sentence(answer)))

        def awarded(learner: str) -> None:
            entry.awarded(learner, promised[learner])
            tell(Awarded(task=task, learner=learner, attempt=attempt))

        observer = Observer(
            on_call=lambda conversation: entry.called(attempt, conversation),
            on_answer=answered,
            on_award=awarded,
            on_notice=lambda _learner, term: noticed(term),
        )
        return await self.call_for_proposals(
            names,
            action,
            first_done,
            reply_within=self._bid_within,
            result_within=self._patience_with,
            observer=observer,
        )

    def _patience_with(self, proposal: Proposal) -> float:
        """Seconds after which a winner that has not finished is stopped, and the task called again."""
        return self._patience_for(proposal.term.seconds if isinstance(proposal.term, Bid) else 0.0)

    def _patience_for(self, promised: float) -> float:
        return max(PATIENCE_LEAST, self._patience * promised)

    async def _learners(self, service: ServiceDescription) -> list[str] | Fail:
        found = await self.find(service)
        if isinstance(found, Failed):
            return Fail(found.reason.cause, found.reason.text)
        return [each.name.name for each in found if each.name is not None]

    async def _pass_on(self, action: AgentAction, label: str) -> Answer:
        group = self.group(self._partitions.own)
        if not group.is_leader:
            return standing_by(self.me, group.name)
        with group.acting():
            return await self._ask_whoever_has_it(action, label)

    async def _ask_whoever_has_it(self, action: AgentAction, label: str) -> Answer:
        name = label.partition(":")[0]
        found = await self._learners(ServiceDescription(type=INFERENCE, name=name))
        if isinstance(found, Fail):
            return found
        outcome: Outcome | None = None
        for learner in found:
            outcome = await self.request(learner, action, reply_within=5.0, result_within=ANSWER_WITHIN)
            match outcome:
                case Succeeded(result=result):
                    return result
                case Failed() | Expired():
                    continue  # it has gone or broken; another may have the model too
                case _:
                    return Fail(Cause.UNSUPPORTED_VALUE, sentence(outcome))
        if outcome is None:
            return Fail(Cause.NO_PROPOSAL, await self._unknown_model(name))
        return Fail(Cause.NO_PROPOSAL, sentence(outcome))

    async def _unknown_model(self, name: str) -> str:
        found = await self.find(ServiceDescription(type=INFERENCE))
        known: set[str] = set()
        if not isinstance(found, Failed):
            services = (service for each in found for service in each.services)
            known = {service.name for service in services if service.type == INFERENCE and service.name}
            if not known and await self._learners(ServiceDescription(type=TRAINING)) == []:
                return NO_LEARNER
        return f"no learner has a model {name!r}; there are: {', '.join(sorted(known)) or 'none'}"


def first_done(proposals: Sequence[Proposal]) -> list[Proposal]:
    """The bid that promises the shortest time from award to result; what is no bid is left out.

    Whoever is at work on the task already, for a leader before, is not to have it done twice.
    """
    bids = [(each, each.term) for each in proposals if isinstance(each.term, Bid)]
    return [each for each, bid in sorted(bids, key=lambda found: (not found[1].begun, found[1].seconds))][:1]


def _nobody(contract: Contract, lost: Mapping[str, str]) -> str:
    declined = {name: sentence(outcome) for name, outcome in sorted(contract.declined.items())}
    reasons = {why.removeprefix(f"{name}: ").removeprefix(f"{name} ") for name, why in declined.items()}
    if not declined:
        told = "no learner made a usable bid"
    elif len(declined) > 1 and len(reasons) == 1 and not contract.proposals:
        told = _agreed(list(contract.declined.values()), reasons.pop())
    else:
        told = f"no learner offered to do it: {_listed(declined)}"
    return f"{told}; it was awarded in vain before: {_listed(lost)}" if lost else told


def _agreed(outcomes: Sequence[Outcome], why: str) -> str:
    """What several learners have answered alike."""
    if all(isinstance(outcome, Expired) for outcome in outcomes):
        return f"none of the {len(outcomes)} learners answered in time"
    if all(map(_is_silent, outcomes)):
        return f"none of the {len(outcomes)} learners can be reached: {why}"
    return f"all {len(outcomes)} learners declined: {why}"


def _listed(reasons: Mapping[str, str]) -> str:
    """Who said what; a reason that names its agent already is not named twice."""
    return "; ".join(
        why if why.startswith((f"{name} ", f"{name}:")) else f"{name}: {why}" for name, why in reasons.items()
    )


def _is_silent(outcome: Outcome) -> bool:
    """Whether a learner has not answered at all, in place of declining."""
    gone = {Cause.UNREACHABLE, Cause.VANISHED}
    return isinstance(outcome, Expired) or (isinstance(outcome, Failed) and outcome.reason.cause in gone)


def _is_worth_another_try(outcome: Outcome) -> bool:
    """Whether another learner may succeed: not where the task itself was found wanting."""
    return not (isinstance(outcome, Failed) and outcome.reason.cause == Cause.UNSUPPORTED_VALUE)


def _following(entry: Entry, tell: Callable[[Predicate], None]) -> Callable[[Term], None]:
    """What takes a learner's notices of a task."""

    def noticed(term: Term) -> None:
        if isinstance(term, Progress):
            entry.progressed(term.model_dump_json(exclude={"task"}))
            tell(term.model_copy(update={"task": entry.task.id}))

    return noticed


def _teller(task: Participation) -> Callable[[Predicate], None]:
    return task.tell


def _silent(_notice: Predicate) -> None:
    """Nobody asked for notices."""
