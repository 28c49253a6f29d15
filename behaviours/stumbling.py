"""What an agent's own code raised, as a fact that says where."""

from __future__ import annotations

import traceback
from pathlib import Path

from behaviours.events import HandlerFailed
from behaviours.wire import legible
from ontology.aid import AgentIdentifier


def handler_failed(me: AgentIdentifier, peer: str, error: BaseException) -> HandlerFailed:
    """The fact that an agent's own code raised at what a peer said."""
    return HandlerFailed(
        agent=me.name,
        peer=peer,
        text=legible(f"{type(error).__name__}: {error}"),
        where=_place(error),
        traceback="".join(traceback.format_exception(error)),
    )


def _place(error: BaseException) -> str:
    """Where an exception was raised: the last line of the user's own code, or of any."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return ""
    own = [frame for frame in frames if not _is_ours(frame.filename)]
    frame = own[-1] if own else frames[-1]
    return f"{Path(frame.filename).name}, line {frame.lineno}, in {frame.name}"


def _is_ours(filename: str) -> bool:
    path = Path(filename)
    return path.parent == Path(__file__).parent or "site-packages" in path.parts
