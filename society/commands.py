"""What the commands of a client do: each asks the running society something and tells what came back.

A command is a coroutine that returns its exit code: 0, or 1 when the society could not or would not.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from behaviours.mustering import GROUP
from behaviours.outcomes import (
    Cancelled,
    Expired,
    Failed,
    NotUnderstood,
    Outcome,
    Refused,
    Succeeded,
    sentence,
)
from ontology.acl import AclMessage
from ontology.content import Term
from ontology.management import ServiceDescription
from ontology.tasks import Predict, Predictions, Train, Trained
from resilience.election import ElectionError
from society import instrument, messages
from society.client import ask_one, connected, coordinators, operator, search
from society.config import SocietyFile
from society.dead_letters import opened
from society.errors import SocietyError, StartError
from society.events import Tell
from society.keeping import open_lock
from society.state import StateFolder
from society.tables import Table, batches, is_same
from society.wiring import depth_of

MEASURES = {"classification": "accuracy", "regression": "r2"}
"""The metric of the held-out rows that ``--at-least`` speaks of."""


async def train(file: SocietyFile, to: str | None, task: Train, at_least: float | None, tell: Tell) -> int:
    """Have a model trained, and tell of bids, awards and progress meanwhile."""

    def notice(term: Term) -> None:
        tell(term.tag, **term.model_dump(mode="json", exclude={"task"}))

    async with operator(file) as agent:
        names = [file.jid(to)] if to is not None else await coordinators(agent, file, tell)
        asking = ask_one(agent, names, task, tell, 30.0, result_within=None, on_notice=notice)
        outcome = await connected(agent, asking)
    match outcome:
        case Succeeded(result=Trained() as trained):
            measure = MEASURES[trained.model.kind]
            tell(
                trained.tag,
                label=trained.model.label,
                stopped_early=trained.epochs < task.epochs,
                **trained.model_dump(mode="json"),
            )
            found = trained.model.metrics.get(measure)
            if at_least is not None and (found is None or found < at_least):
                shown = "unknown" if found is None else f"{found:.4f}"
                raise SocietyError(
                    f"{trained.model.label}: held-out {measure} is {shown}, {at_least:g} was asked for"
                )
            return 0
        case _:
            return _unsuccessful(outcome, tell)


async def predict(file: SocietyFile, to: str | None, model: str, table: Table, tell: Tell) -> int:
    """Have a model applied to rows."""
    began, count, right = time.monotonic(), 0, 0
    label, kind = model, "number"
    async with operator(file) as agent:
        names = [file.jid(to)] if to is not None else await coordinators(agent, file, tell)
        for rows in batches(table.rows):
            question = Predict(model=label, rows=rows, columns=table.columns)
            outcome = await ask_one(agent, names, question, _untold, 30.0)
            if not (isinstance(outcome, Succeeded) and isinstance(outcome.result, Predictions)):
                return _unsuccessful(outcome, tell, table.left_out)
            found = outcome.result
            # A model that is trained anew meanwhile must not answer for the rest of the rows.
            label, kind = found.model, "class" if found.confidence else "number"
            for place, value in enumerate(found.values):
                fields: dict[str, Any] = {"row": count + 1, "value": value}
                if found.confidence:
                    fields["confidence"] = found.confidence[place]
                if table.actual:
                    fields["actual"] = table.actual[count]
                    if kind == "class":
                        fields["is_right"] = is_same(value, table.actual[count])
                        right += fields["is_right"]
                tell("prediction", **fields)
                count += 1
    summary = {"right": right} if table.actual and kind == "class" else {}
    tell("predicted", model=label, rows=count, seconds=round(time.monotonic() - began, 3), **summary)
    return 0


async def agents(file: SocietyFile, tell: Tell) -> int:
    """List who stands in the directory."""
    async with operator(file) as agent:
        found = await search(agent, file)
    if not isinstance(found, tuple):
        return _unsuccessful(found, tell)
    names = [each.name.name for each in found if each.name is not None]
    depths = await _depths(file, names)
    for each in found:
        name = each.name.name if each.name is not None else "?"
        local, _at, domain = name.partition("@")
        tell(
            "agent",
            name=name,
            services=[service.model_dump(mode="json", exclude_defaults=True) for service in each.services],
            lease_left=each.lease_time,
            dashboard=file.dashboard_url(local) if domain == file.society.domain else None,
            delivery=depths.get(name),
        )
    tell("listed", agents=len(found), directory=file.directory)
    return 0


async def groups(file: SocietyFile, tell: Tell) -> int:
    """List the task groups and who leads them, as the lock has it, and while it runs their members."""
    if file.election.lock == "memory":
        raise StartError(f'{file.path}: [election] lock is "memory": who leads only that process knows')
    state = StateFolder(file.society.state)
    if file.election.lock == "sqlite" and not state.database.exists():
        tell("groups", groups=0)
        return 0
    lock = open_lock(file, state)
    try:
        found = await lock.groups()
    except ElectionError as error:
        raise StartError(str(error)) from error
    finally:
        await lock.close()
    now = datetime.now(UTC)
    for name, led in found.items():
        if led is None:
            tell("group", name=name, leader=None, term=None, since=None, seconds=None, failover=None)
        else:
            seconds = max(0.0, (now - led.since).total_seconds())
            since = led.since.isoformat(timespec="seconds")
            tell(
                "group",
                name=name,
                leader=led.leader,
                term=led.term,
                since=since,
                seconds=round(seconds, 1),
                failover=None if led.failover is None else round(led.failover, 3),
            )
    for name, members in sorted((await _members(file)).items()):
        tell("members", group=name, members=sorted(members))
    tell("groups", groups=len(found))
    return 0


async def _members(file: SocietyFile) -> Mapping[str, set[str]]:
    """Who is in which group, as the directory has it; empty where nobody can tell."""
    members: dict[str, set[str]] = {}
    with suppress(SocietyError):
        async with operator(file) as agent:
            found = await search(agent, file, ServiceDescription(type=GROUP))
        for each in found if isinstance(found, tuple) else ():
            for service in each.services:
                if service.type == GROUP and service.name and each.name is not None:
                    members.setdefault(service.name, set()).add(each.name.name)
    return members


def _untold(_event: str, **_fields: Any) -> None:
    """Of whom each batch of rows is asked nobody is told."""


async def _depths(file: SocietyFile, names: Iterable[str]) -> Mapping[str, Any]:
    """How much agents have in store, by bare JID; empty where the store cannot be seen from here."""
    own = [name for name in names if name.rpartition("@")[2] == file.society.domain]
    try:
        async with opened(file) as journal:
            return {name: await depth_of(journal, name) for name in own}
    except SocietyError:
        return {}


async def send(
    file: SocietyFile, message: AclMessage, wait: float, tell: Tell, form: str | None = None
) -> int:
    """Send any message, and tell every reply: as an event, or as the message itself in a written form."""
    if not message.receiver:
        raise SocietyError("the message names no receiver")
    replies, is_bad = 0, False
    async with aclosing(instrument.say(file, message, wait)) as answers:
        async for reply in answers:
            replies += 1
            is_bad = is_bad or reply.performative in instrument.BAD_NEWS
            if form is not None:
                tell(messages.written(reply, form))
            else:
                tell("reply", reply=reply)
    if not replies and wait > 0:
        to = ", ".join(each.name for each in message.receiver)
        raise SocietyError(f"no reply from {to} within {wait:g} s")
    return 1 if is_bad else 0


def _unsuccessful(outcome: Outcome, tell: Tell, left_out: Mapping[str, str] = MappingProxyType({})) -> int:
    """Tell an outcome that is no success; the terminal writes it to standard error.

    Args:
        outcome: what came back.
        tell: told of it as an event.
        left_out: columns that were not sent, with the reason; of those that are missed, it is told.
    """
    match outcome:
        case Refused(reason) | Failed(reason) | NotUnderstood(reason) | Expired(reason):
            name = {Refused: "refused", Failed: "failed", Expired: "expired"}.get(
                type(outcome), "not-understood"
            )
            missed = [why for column, why in left_out.items() if repr(column) in reason.text]
            text = "; ".join([reason.text, *missed[:3]])
            tell(name, cause=reason.cause, text=text)
            raise SocietyError(text)
        case Cancelled():
            tell("cancelled")
            raise SocietyError("the task was cancelled")
        case _:
            raise SocietyError(f"the answer makes no sense here: {sentence(outcome)}")
