"""Dead letters for the person who looks after a society: listed, shown, dropped, and replayed.

All but the last read the store itself, whether the society runs or not. A replay is the affair of the agent
whose letter it is, which alone knows its conversations: it is asked for it, as the operator, by the action
`ontology.management.Replay`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from behaviours.outcomes import Expired, Failed, NotUnderstood, Outcome, Refused, Succeeded, sentence
from ontology.errors import Cause
from ontology.management import Replay, Replayed
from resilience.dead_letters import DeadLetter
from resilience.journal import Journal
from resilience.records import RecordsError
from society.client import connected, operator
from society.config import SocietyFile
from society.errors import MisuseError, NotRunningError, SocietyError
from society.events import Tell
from society.keeping import open_journal
from society.state import StateFolder
from society.suggestions import unknown_among

REPLY_WITHIN = 5.0
"""Seconds in which an agent that runs answers."""

LISTED = 100
"""Letters that are listed unless told otherwise."""


async def listed(file: SocietyFile, agent: str | None, tell: Tell, limit: int = LISTED) -> int:
    """Tell of the newest letters, newest first.

    Args:
        file: the society.
        agent: whose; None for all agents of the file.
        tell: told of each.
        limit: how many at most.
    """
    agents = _agents(file, agent)
    async with opened(file) as journal:
        found = [letter for each in agents for letter in await journal.letters(each, limit)]
        total = sum([(await journal.depth(each)).letters for each in agents])
    found.sort(key=lambda letter: letter.when, reverse=True)
    for letter in found[:limit]:
        tell("dead-letter", **record_of(letter))
    tell("dead-letters", letters=total, shown=min(limit, len(found)))
    return 0


async def shown(file: SocietyFile, id: str, agent: str | None, tell: Tell) -> int:  # noqa: A002 - as elsewhere
    """Tell everything about one letter."""
    async with opened(file) as journal:
        letter = await _find(journal, file, id, agent)
    tell("dead-letter", **record_of(letter), original=letter.original)
    return 0


async def dropped(file: SocietyFile, id: str, agent: str | None, tell: Tell) -> int:  # noqa: A002 - as elsewhere
    """Remove one letter."""
    async with opened(file) as journal:
        letter = await _find(journal, file, id, agent)
        await journal.drop(letter.agent, letter.id)
    tell("dropped", id=letter.id, agent=letter.agent)
    return 0


async def replayed(
    file: SocietyFile,
    id: str,  # noqa: A002 - as elsewhere
    agent: str | None,
    tell: Tell,
    *,
    again: bool = False,
) -> int:
    """Have the agent do with one letter what its protocol still allows.

    Args:
        file: the society.
        id: the letter's.
        agent: whose; None to look for it.
        tell: told what was done.
        again: say it again even where its receiver may have had it and forgotten that.
    """
    if file.delivery.store == "memory":
        if agent is None:
            raise MisuseError('with store = "memory" nobody but the agent has the letter: name it by --agent')
        (owner,) = _agents(file, agent)
    else:
        async with opened(file) as journal:
            owner = (await _find(journal, file, id, agent)).agent
    async with operator(file) as us:
        wanted = Replay(letter=id, again=again)
        asking = us.request(owner, wanted, reply_within=REPLY_WITHIN, result_within=REPLY_WITHIN)
        outcome = await connected(us, asking)
    if isinstance(outcome, Succeeded) and isinstance(outcome.result, Replayed):
        done = outcome.result
        tell("replayed", id=done.letter, agent=owner, done=done.done, text=done.text)
        return 0
    raise _failed(file, owner, outcome)


def record_of(letter: DeadLetter) -> dict[str, Any]:
    """A letter as JSON can hold it, without the original."""
    return {
        "id": letter.id,
        "agent": letter.agent,
        "peer": letter.peer,
        "direction": "in" if letter.is_inbound else "out",
        "cause": letter.cause,
        "text": letter.text,
        "when": letter.when.isoformat(),
        "attempts": letter.attempts,
        "conversation_id": letter.conversation_id,
        "protocol": letter.protocol,
        "state": letter.state,
    }


@asynccontextmanager
async def opened(file: SocietyFile) -> AsyncIterator[Journal]:
    """Open the store of a society that may run meanwhile.

    Raises:
        SocietyError: there is none yet, or it cannot be used.
    """
    state = StateFolder(file.society.state)
    if file.delivery.store == "sqlite" and not state.database.exists():
        # It is not made here: a folder that is made by looking at it would hide a wrong --file.
        raise NotRunningError(f"there is no {state.database}: the society has not been started here yet")
    journal = await open_journal(file, state)
    try:
        yield journal
    except RecordsError as error:
        raise SocietyError(str(error)) from error
    finally:
        await journal.close()


async def _find(journal: Journal, file: SocietyFile, id: str, agent: str | None) -> DeadLetter:  # noqa: A002 - as elsewhere
    agents = _agents(file, agent)
    for each in agents:
        letter = await journal.letter(each, id)
        if letter is not None:
            return letter
    whose = f"{agent} has" if agent is not None else "there is"
    raise SocietyError(f"{whose} no dead letter {id!r}; those that are there: locution dead-letters list")


def _agents(file: SocietyFile, agent: str | None) -> Iterable[str]:
    """The bare JID of that agent, or those of all agents of the file."""
    names = [each.name for each in file.agents]
    if agent is None:
        return tuple(map(file.jid, names))
    if "@" not in agent and agent not in names:
        raise MisuseError(unknown_among(f"{file.path}", "agent", agent, names))
    return (file.jid(agent),)


def _failed(file: SocietyFile, owner: str, outcome: Outcome) -> SocietyError:
    """Why nothing was replayed, in one sentence."""
    absent = {Cause.UNREACHABLE.value, Cause.VANISHED.value}
    match outcome:
        case Expired() | Failed(reason=_) if isinstance(outcome, Expired) or outcome.reason.cause in absent:
            local = owner.partition("@")[0]
            return NotRunningError(
                f"{owner} does not answer, so nothing was replayed; start it: locution up --only {local} "
                f"--file {file.path}"
            )
        case Refused(reason) | Failed(reason) | NotUnderstood(reason):
            return SocietyError(reason.text)
        case _:
            return SocietyError(f"the answer makes no sense here: {sentence(outcome)}")
