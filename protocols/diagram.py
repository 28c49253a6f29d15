"""A table drawn: Mermaid's ``stateDiagram-v2``, which GitHub and many editors show as a picture.

Every arrow says who speaks and what: ``I: cfp`` is the initiator's, ``P: propose`` the participant's,
``T: any reply`` a target's. What happens without a word stands in brackets: ``[deadline]``, ``[lost]``,
``[all-ended]``.
Cancel and not-understood are the same in every protocol, and stand in one note.
"""

from __future__ import annotations

from protocols.table import ANY, Protocol, Role

LETTERS = {Role.INITIATOR: "I", Role.PARTICIPANT: "P", Role.TARGET: "T"}
"""How the roles are called in a drawing: the specifications' letters."""

DEADLINE = "deadline"

LOSS = "lost"

NOTE = (
    "At every state but the first and the last ones:",
    "I: cancel, answered by P: inform (done) or failure",
    "not-understood by whoever was spoken to ends it,",
    "where none is drawn, and so does a [deadline]: EXPIRED",
)
"""What holds in every protocol and stands in no table; see `protocols.machine`."""


def steps(protocol: Protocol) -> dict[tuple[str, str], list[str]]:
    """The arrows of a drawing: from a state to a state, and all that leads there, in the table's order."""
    found: dict[tuple[str, str], list[str]] = {}
    for (state, role, act), following in protocol.transitions.items():
        told = "any reply" if act == ANY else act
        if act != ANY and protocol.transitions.get((state, role, ANY)) == following:
            continue
        found.setdefault((state, following), []).append(f"{LETTERS[role]}: {told}")
    for (state, event), following in protocol.events.items():
        found.setdefault((state, following), []).append(f"[{event}]")
    for state, following in protocol.deadlines.items():
        found.setdefault((state, following), []).append(f"[{DEADLINE}]")
    for state, following in protocol.losses.items():
        if following != state:
            found.setdefault((state, following), []).append(f"[{LOSS}]")
    return found


def draw(protocol: Protocol) -> str:
    """Draw a table; the text ends without a line feed."""
    # From left to right, or the label of an arrow from a state to itself is hidden by others.
    lines = ["stateDiagram-v2", "    direction LR", f"    [*] --> {protocol.start}"]
    arrows = steps(protocol)
    lines += [
        f"    {state} --> {following} : {', '.join(told)}" for (state, following), told in arrows.items()
    ]
    lines += [f"    {state} --> [*]" for state in sorted(protocol.terminal)]
    lines.append(f"    note right of {protocol.start}")
    lines += [f"        {line}" for line in NOTE]
    lines.append("    end note")
    return "\n".join(lines)
