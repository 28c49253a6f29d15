"""What holds for every table. Each law returns the faults it finds, so that tests can see it find some."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ontology.acl import Performative
from protocols import machine
from protocols.errors import LocalProtocolError, ProtocolError, RemoteProtocolError
from protocols.machine import Conversation
from protocols.table import ANY, CANCELLED, CANCELLING, NOT_UNDERSTOOD, PARTIES, UNREACHABLE, Protocol, Role
from tests.protocols.reference import Reference
from tests.protocols.samples import LETTER, SHARED_STATES, SPEAKERS, at, live_states, said

ANSWERED_WHEN_OVER = frozenset({"EXPIRED", "LATE"})
"""Where a conversation that is over is left again: a late proposal is turned down."""

ACTS = tuple(each.value for each in Performative)


def structural_faults(protocol: Protocol) -> list[str]:
    """The table by itself: reachable, without dead ends, deterministic, spelt with FIPA's acts."""
    return [
        *_unknown_acts(protocol),
        *_openings(protocol),
        *_ambiguities(protocol),
        *_unreachable(protocol),
        *_dead_ends(protocol),
        *_left_when_over(protocol),
        *_taken_names(protocol),
    ]


def _unknown_acts(protocol: Protocol) -> Iterator[str]:
    for _state, _role, act in protocol.transitions:
        performative, slash, kind = act.partition("/")
        if performative not in {*ACTS, ANY} or (slash and not kind):
            yield f"{act} is none of the 22 acts"


def _openings(protocol: Protocol) -> Iterator[str]:
    openings = {role for state, role, _act in protocol.transitions if state == protocol.start}
    if openings != {Role.INITIATOR}:
        yield f"opened by {sorted(openings)}"
    if protocol.is_terminal(protocol.start):
        yield "over before it starts"


def _ambiguities(protocol: Protocol) -> Iterator[str]:
    for state, role, act in protocol.transitions:
        performative = act.partition("/")[0]
        following = protocol.transitions[state, role, act]
        if act != performative and protocol.transitions.get((state, role, performative)) == following:
            yield f"{act} in {state} leads where any {performative} does"


def _exits(protocol: Protocol, state: str) -> set[str]:
    exits = {
        following for (source, _role, _act), following in protocol.transitions.items() if source == state
    }
    exits |= {following for (source, _event), following in protocol.events.items() if source == state}
    return exits | {each[state] for each in (protocol.deadlines, protocol.losses) if state in each}


def _closure(protocol: Protocol, state: str) -> set[str]:
    found, queue = {state}, [state]
    while queue:
        fresh = _exits(protocol, queue.pop()) - found
        found |= fresh
        queue.extend(fresh)
    return found


def _unreachable(protocol: Protocol) -> Iterator[str]:
    for state in sorted(protocol.states - _closure(protocol, protocol.start)):
        yield f"{state} is never reached"


def _dead_ends(protocol: Protocol) -> Iterator[str]:
    for state in sorted(protocol.states):
        if not any(protocol.is_terminal(end) for end in _closure(protocol, state)):
            yield f"{state} never ends"


def _left_when_over(protocol: Protocol) -> Iterator[str]:
    for state in sorted(protocol.terminal - ANSWERED_WHEN_OVER):
        if _exits(protocol, state):
            yield f"{state} is over and goes on"


def _taken_names(protocol: Protocol) -> Iterator[str]:
    for state in sorted(protocol.states & {CANCELLING, CANCELLED, NOT_UNDERSTOOD, UNREACHABLE}):
        yield f"{state} is the engine's own"


def reference_faults(protocol: Protocol, reference: Reference) -> list[str]:
    """The table beside the specification's, step by step and in both directions."""
    faults = []
    if (protocol.spec, protocol.start) != (reference.spec, reference.start):
        faults.append(f"{protocol.spec} starts in {protocol.start}")
    if protocol.terminal != reference.terminal:
        faults.append(f"terminal {sorted(protocol.terminal ^ reference.terminal)}")
    if protocol.deadlines != reference.on_deadline:
        faults.append(f"deadlines {dict(protocol.deadlines)}")
    if protocol.losses != reference.on_loss:
        faults.append(f"losses {dict(protocol.losses)}")
    if protocol.events != reference.on_event:
        faults.append(f"events {dict(protocol.events)}")
    found = {(state, LETTER[role], act): end for (state, role, act), end in protocol.transitions.items()}
    for step in sorted(found.items() ^ reference.steps.items()):
        (state, letter, act), following = step
        faults.append(
            f"{letter}:{act} in {state} to {following} is {'ours' if step in found.items() else 'missing'}"
        )
    return faults


def leads(reference: Reference, state: str, speaker: Role, act: str, kind: str) -> str | None:
    """Where a step of the protocol itself leads."""
    steps, letter = reference.steps, LETTER[speaker]
    step = steps.get((state, letter, f"{act}/{kind}")) or steps.get((state, letter, act))
    if step is None and act not in {"cancel", "not-understood"}:
        step = steps.get((state, letter, ANY))
    return step


def expected(reference: Reference, state: str, speaker: Role, last: Role, act: str, kind: str) -> str | None:
    """The next state after the rules of FIPA, or None where the act is out of sequence."""
    step = leads(reference, state, speaker, act, kind)
    if step is not None:
        return step
    if state in reference.live and act == "not-understood" and speaker is last.other:
        return NOT_UNDERSTOOD
    if state in reference.live and act == "cancel" and speaker is Role.INITIATOR:
        return CANCELLING
    return None


def expected_while_cancelling(
    reference: Reference, resume: str, speaker: Role, act: str, kind: str
) -> tuple[str, str | None] | None:
    """The same while state `resume` is being cancelled: the next state, and what would be resumed."""
    if speaker is Role.INITIATOR:
        return None
    if speaker is Role.PARTICIPANT:
        if act == "not-understood":
            return NOT_UNDERSTOOD, None
        if act == "failure":
            return resume, None
        if act == "inform" and kind == "done":
            return CANCELLED, None
    step = leads(reference, resume, speaker, act, kind)
    return None if step is None else (CANCELLING, step)


def step_faults(
    protocol: Protocol,
    before: Conversation,
    speaker: Role,
    act: str,
    kind: str,
    wanted: tuple[str, str | None] | None,
) -> Iterator[str]:
    """Take one step on the side of `before`, and say how it differs from what is wanted."""
    ours = speaker is before.role
    message = said(act, None if ours else speaker, kind)
    untouched = replace(before)
    cell = f"{before.role} at {before.state}, {speaker}:{act}/{kind}"
    try:
        moved = (machine.say if ours else machine.receive)(protocol, before, message)
    except ProtocolError as error:
        answers = before.role is Role.PARTICIPANT and act != "not-understood"
        if wanted is not None:
            yield f"{cell}: {error}"
        if not isinstance(error, LocalProtocolError if ours else RemoteProtocolError):
            yield f"{cell}: {error!r}"
        if isinstance(error, RemoteProtocolError) and error.answer is not answers:
            yield f"{cell}: answered {error.answer}"
    else:
        if (moved.state, moved.resume) != wanted:
            yield f"{cell}: {moved.state} ({moved.resume}), not {wanted}"
    if before != untouched:
        yield f"{cell}: has changed"


def grid_faults(
    protocol: Protocol,
    reference: Reference,
    role: Role,
    states: frozenset[str] | None = None,
    acts: tuple[str, ...] = ACTS,
) -> Iterator[str]:
    """Every state, speaker, act and kind of content through the engine, while we play one role.

    Whoever wants to know only whether there is a fault may stop at the first one, and may look at some
    of the states and acts.
    """
    kinds = kinds_that_matter(reference)
    for before, speaker, act, kind in cells(
        protocol, role, states or reference.states | SHARED_STATES, kinds, acts
    ):
        following = expected(reference, before.state, speaker, before.last_speaker, act, kind)
        resume = before.state if following == CANCELLING else None
        wanted = None if following is None or is_astray(speaker, role) else (following, resume)
        yield from step_faults(protocol, before, speaker, act, kind, wanted)
    for resume in sorted(live_states(protocol) & (states or protocol.states)):
        for before, speaker, act, kind in cells(protocol, role, {CANCELLING}, kinds, acts):
            cancelling = replace(before, resume=resume)
            wanted = expected_while_cancelling(reference, resume, speaker, act, kind)
            wanted = None if is_astray(speaker, role) else wanted
            yield from step_faults(protocol, cancelling, speaker, act, kind, wanted)


def is_astray(speaker: str, role: Role) -> bool:
    """Whether somebody speaks to one whom it has nothing to say to: targets reply to the initiator."""
    return speaker == Role.TARGET and role is Role.PARTICIPANT


def kinds_that_matter(reference: Reference) -> tuple[str, ...]:
    """The kinds of content that FIPA tells apart in this protocol, and that the answer to a cancel has."""
    steps = (*reference.drawn, *reference.steps)
    failures = {act.partition("/")[2] for _state, _speaker, act in steps if act.startswith("failure/")}
    informs = {
        act.partition("/")[2] for _state, _speaker, act in reference.steps if act.startswith("inform/")
    }
    return ("done", "result", *sorted(failures - {"proxy"}), *sorted(informs))


def cells(
    protocol: Protocol,
    role: Role,
    states: frozenset[str] | set[str],
    kinds: tuple[str, ...],
    acts: tuple[str, ...] = ACTS,
) -> Iterator[tuple[Conversation, Role, str, str]]:
    """Where we stand, who speaks now, with which act and which kind of content."""
    for state in sorted(states):
        for last in PARTIES:
            before = at(protocol, state, role, last_speaker=last)
            for speaker in SPEAKERS:
                for act in acts:
                    for kind in kinds:
                        yield before, speaker, act, kind
