"""What must hold of every history, as small functions: each returns a sentence for each violation.

An invariant looks at nothing but the happenings, so it can be tried on any of them, and more are added here
as more is promised.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from behaviours.events import BehaviourGivenUp, BehaviourRestarted, ConversationOpened, HandlerFailed
from society.simulation.happenings import Begun, Complained, Ended, Happening, Noted

Invariant = Callable[[Sequence[Happening]], Iterable[str]]


def nothing_hangs(history: Sequence[Happening]) -> Iterator[str]:
    """All that agents have begun has ended, be it by a crash."""
    ended = {each.fact.work for each in history if isinstance(each.fact, Ended)}
    for each in history:
        if isinstance(begun := each.fact, Begun) and begun.work not in ended:
            yield f"{begun.agent} has begun {begun.what} at {each.at:.3f} s, and it has never ended"


def nothing_raised(history: Sequence[Happening]) -> Iterator[str]:
    """No handler and no code of ours raised: neither table, whatever came in."""
    for each in history:
        match each.fact:
            case HandlerFailed(agent=agent, text=text) | BehaviourRestarted(agent=agent, text=text):
                yield f"at {each.at:.3f} s something raised in {agent}: {text}"
            case BehaviourGivenUp(agent=agent, text=text) | Complained(agent=agent, text=text):
                yield f"at {each.at:.3f} s nobody caught in {agent or 'the scenario'}: {text}"


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
