"""What must hold of every history, as small functions: each returns a sentence for each violation.

An invariant looks at nothing but the happenings, so it can be tried on any of them, and more are added here
as more is promised. What `docs/delivery.md` promises is held by two of them: `done_once`, and `nothing_lost`
for worlds that have come to rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from behaviours.events import BehaviourGivenUp, BehaviourRestarted, ConversationOpened, HandlerFailed
from ontology.acl import Performative
from society.simulation.evidence import Evidence, Message, evidence
from society.simulation.happenings import Begun, Complained, Ended, Happening, Left, Noted

Invariant = Callable[[Sequence[Happening]], Iterable[str]]


def nothing_hangs(history: Sequence[Happening]) -> Iterator[str]:
    """All that agents have begun has ended, be it by a crash; at rest no conversation is open."""
    begun: dict[int, str] = {}
    for each in history:
        match each.fact:
            case Begun(agent=agent, what=what, work=work):
                begun[work] = f"{agent} has begun {what} at {each.at:.3f} s, and it has never ended"
            case Ended(work=work):
                begun.pop(work, None)
            case Left(agent=agent, conversations=keys):
                yield from (f"{agent} holds {key} open when all is over" for key in keys)
    yield from begun.values()


def nothing_raised(history: Sequence[Happening]) -> Iterator[str]:
    """No handler and no code of ours raised: neither table, whatever came in."""
    for each in history:
        if type(each.fact) not in _RAISED:
            continue
        match each.fact:
            case HandlerFailed(agent=agent, text=text) | BehaviourRestarted(agent=agent, text=text):
                yield f"at {each.at:.3f} s something raised in {agent}: {text}"
            case BehaviourGivenUp(agent=agent, text=text) | Complained(agent=agent, text=text):
                yield f"at {each.at:.3f} s nobody caught in {agent or 'the scenario'}: {text}"


_RAISED = frozenset({HandlerFailed, BehaviourRestarted, BehaviourGivenUp, Complained})


def handled_once(history: Sequence[Happening]) -> Iterator[str]:
    """No message has opened a conversation twice with the same agent. For runs without a crash."""
    opened = Counter(
        (fact.agent, fact.peer, fact.conversation_id)
        for each in history
        if isinstance(fact := each.fact, ConversationOpened) and fact.role == "participant"
    )
    for (agent, peer, conversation), times in opened.items():
        if times > 1:
            yield f"{agent} has opened conversation {conversation} of {peer} {times} times"


def noted_once(history: Sequence[Happening]) -> Iterator[str]:
    """No note of an agent has come twice: with a note for each effect, each effect comes at most once."""
    noted = Counter((each.fact.agent, each.fact.text) for each in history if isinstance(each.fact, Noted))
    for (agent, text), times in noted.items():
        if times > 1:
            yield f"{agent} has noted {times} times: {text}"


LAST = frozenset(
    {Performative.INFORM, Performative.FAILURE, Performative.REFUSE, Performative.NOT_UNDERSTOOD}
)
"""Acts by which something that was asked for ends."""


def done_once(history: Sequence[Happening]) -> Iterator[str]:
    """What is acknowledged, or told as a result, is written down; and no two results are told of one thing.

    A handler that runs again after a crash is no mistake. What counts is what others are told, and what its
    journal holds by then.
    """
    found = evidence(history)
    for at, agent, name in found.unwritten:
        yield f"at {at:.3f} s {agent} said {name}, which it had not written down"
    for receipt in found.receipts:
        if not receipt.is_grounded:
            message = receipt.message
            who = message.record.to
            yield f"at {receipt.at:.3f} s {who} acknowledged the {message} without a trace of it"
    several = ((key, answers) for key, answers in found.answers.items() if len(answers) > 1)
    for (agent, peer, _asked), answers in several:
        for kind in (LAST, {Performative.PROPOSE}, {Performative.AGREE}):
            told = {each.record.id: each for each in answers if each.act in kind and not each.is_news}
            if len(told) > 1 and not _is_afterthought(found, list(told.values())):
                named = " and ".join(f"{each.act.value} {name}" for name, each in told.items())
                yield f"{agent} has answered {peer} twice in one matter: {named}"


def _is_afterthought(found: Evidence, told: Sequence[Message]) -> bool:
    """Whether all that was told beside one result is that a late copy is not understood any more.

    It does no harm where the result was known by then: what comes behind the end moves nothing.
    """
    results = [each for each in told if each.act is not Performative.NOT_UNDERSTOOD]
    known = [found.heard.get((each.record.agent, each.record.id)) for each in told]
    first = found.heard.get((results[0].record.agent, results[0].record.id)) if len(results) == 1 else None
    return first is not None and all(each is None or each >= first for each in known)


def nothing_lost(history: Sequence[Happening]) -> Iterator[str]:
    """Every message has an end, when all is at rest (`Simulation.rest`), and its sender knows of it.

    It is acknowledged; or it has gone to somebody that its sender did not know to acknowledge; or it is with
    the dead letters, and whoever said it was told. What was acknowledged has come to something where it went.
    """
    found = evidence(history)
    if not found.left:
        yield "nobody knows what is lost in a world that was never at rest: end with `await world.rest()`"
    for left in found.left.values():
        yield from (f"{left.agent}: {name} stands in the outbox when all is over" for name in left.outgoing)
        yield from _untold(found, left)
    for (agent, name), message in found.messages.items():
        if agent in found.left and not _has_ended(found, agent, name, message):
            yield f"the {message} was neither acknowledged nor given up"
    for receipt in found.receipts:
        if receipt.message.record.to in found.left and _is_forgotten(found, receipt.message):
            yield f"the {receipt.message} was acknowledged and then forgotten"


def _untold(found: Evidence, left: Left) -> Iterator[str]:
    for letter in left.letters:
        # What was never taken into the outbox, because its agent was stopping, is told as it is said.
        is_taken = (letter.agent, letter.id) in found.messages
        if is_taken and (letter.agent, letter.peer, letter.text) not in found.told:
            yield f"{letter.agent} has {letter.id} with its dead letters, and told nobody: {letter.text}"


def _has_ended(found: Evidence, agent: str, name: str, message: Message) -> bool:
    if name in found.left[agent].outgoing or (agent, name) in found.acknowledged:
        return True  # it is told above if it has not left the outbox
    if any(letter.id == name for letter in found.left[agent].letters):
        return True
    if message.act is Performative.AGREE and _is_followed(found, agent, message):
        return True
    settled, marked = found.settled.get((agent, name)), found.marked.get((agent, message.record.to))
    return settled is not None and (marked is None or settled < marked)


def _is_followed(found: Evidence, agent: str, message: Message) -> bool:
    """Whether something that was said in its conversation after it is acknowledged: that says it all."""
    return any(
        (agent, name) in found.acknowledged
        for (who, name), other in found.messages.items()
        if (who, other.record.conversation) == (agent, message.record.conversation) and other.at > message.at
    )


def _is_forgotten(found: Evidence, message: Message) -> bool:
    """Whether what it was to begin has neither begun nor been declined, or has never come to an end."""
    agent, key = message.place
    if not message.is_opening or (agent, key) in found.closed or found.is_answered(message):
        return False
    left = found.left[agent]
    if key in left.conversations:
        return False  # it is told by `nothing_hangs`
    return not any(each.is_inbound and key.endswith(f"/{each.conversation_id}") for each in left.letters)
