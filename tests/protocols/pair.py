"""Both ends of one conversation in memory, and the network between them, which a test moves by hand."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ontology.acl import AclMessage, Performative
from protocols import machine
from protocols.errors import LocalProtocolError, RemoteProtocolError
from protocols.machine import Conversation
from protocols.table import CANCELLING, PARTIES, Protocol, Role
from protocols.traces import Entry
from tests.protocols.samples import CONTENTS, NAME, NOW, TIM

Choice = tuple[str, str, bool]
"""An act, a kind of content, and whether it is meant to answer the cancel."""

ENDINGS: tuple[Choice, ...] = (
    ("inform", "done", True),
    ("failure", "none", True),
    ("inform", "result", False),
    ("reject-proposal", "none", False),
    ("refuse", "none", False),
    ("failure", "none", False),
    ("request", "none", False),
    ("cfp", "none", False),
    ("inform", "committed", False),
)
"""What somebody says who wants to come to an end, in order of preference."""


@dataclass
class End:
    """One of the two agents: its conversation, what it has heard, and what is on the way to it."""

    role: Role
    conversation: Conversation | None = None
    heard: AclMessage | None = None
    """The last message of the protocol: the one to answer."""
    cancel: AclMessage | None = None
    inbox: deque[AclMessage] = field(default_factory=deque)
    seen: set[str] = field(default_factory=set)
    gave_up: bool = False
    """Whether it has said not-understood as an act of the conversation."""


class ConversationPair:
    """Two ends that run the same table.

    Args:
        protocol: the table.
        names_messages: whether the agents set reply-with and in-reply-to, as FIPA asks.
        drops_copies: whether a second copy of a message is dropped before the engine sees it, which
            is the mailroom's task.
    """

    def __init__(self, protocol: Protocol, *, names_messages: bool = True, drops_copies: bool = True) -> None:
        self.protocol = protocol
        self.names_messages = names_messages
        self.drops_copies = drops_copies
        self.now: datetime = NOW
        self.ends = {role: End(role) for role in PARTIES}
        self.said: list[AclMessage] = []
        """Everything, in the order in which it was said."""
        self._kinds = {act: _kinds(protocol, act) for act in Performative}
        self._count = 0

    @property
    def openings(self) -> list[str]:
        """The acts that the protocol may begin with."""
        return [each.value for each in Performative if self.protocol.opens_with(each)]

    def open(self, within: float, act: str | None = None) -> None:
        """The initiator says the first act, to be answered within so many seconds."""
        initiator = self.ends[Role.INITIATOR]
        limit = self.now + timedelta(seconds=within)
        message = self._write(initiator, act or self.openings[0], "none", None, limit)
        initiator.conversation = machine.start(
            self.protocol, Role.INITIATOR, message, NAME[Role.PARTICIPANT].name, self.now
        )
        self._post(Role.PARTICIPANT, message)

    def choices(self, role: Role) -> list[Choice]:
        """Everything that this end may say now."""
        end = self.ends[role]
        if end.conversation is None:
            return []
        found = []
        for act in Performative:
            for kind in self._kinds[act]:
                for answers_cancel in (False, True) if end.conversation.state == CANCELLING else (False,):
                    message = self._compose(end, act, kind, answers_cancel, None)
                    try:
                        machine.say(self.protocol, end.conversation, message)
                    except LocalProtocolError:
                        continue
                    found.append((act.value, kind, answers_cancel))
        return found

    def say(self, role: Role, choice: Choice, within: float | None = None) -> None:
        """Say it, whether it is allowed or not."""
        end = self.ends[role]
        assert end.conversation is not None
        act, kind, answers_cancel = choice
        reply_by = None if within is None else self.now + timedelta(seconds=within)
        message = self._compose(end, act, kind, answers_cancel, reply_by)
        end.conversation = machine.say(self.protocol, end.conversation, message)
        end.gave_up |= act == "not-understood"
        if role is Role.INITIATOR and act != "cancel":
            end.heard = None  # it answers a message once; the call of a further round answers nobody
        self._post(role.other, message)

    def let_a_target_reply(self, act: str, kind: str) -> None:
        """An agent that the participant has found replies to the initiator, where the protocol has that."""
        recruiter = self.ends[Role.PARTICIPANT]
        if recruiter.conversation is None or recruiter.heard is None:
            return
        state = recruiter.conversation.resume or recruiter.conversation.state
        if self.protocol.awaits(state, Role.TARGET):
            reply = self._write(recruiter, act, kind, recruiter.heard.reply_with, None)
            self._post(Role.INITIATOR, reply.model_copy(update={"sender": TIM}))

    def let_all_end(self) -> bool:
        """Whatever the participant has begun with others has ended, and everything about it has arrived."""
        conversations = [each.conversation for each in self.ends.values()]
        if any(each.inbox for each in self.ends.values()) or None in conversations:
            return False
        moved = [
            machine.happen(self.protocol, each, event)
            for each in conversations
            if each is not None
            for state, event in self.protocol.events
            if each.state == state
        ]
        if len(moved) != len(conversations):
            return False
        for end, conversation in zip(self.ends.values(), moved, strict=True):
            end.conversation = conversation
        return True

    def deliver(self, role: Role, index: int = 0, *, keep: bool = False) -> None:
        """Let one message on the way to this end arrive; with `keep` another copy stays on the way."""
        end = self.ends[role]
        message = end.inbox[index]
        if not keep:
            del end.inbox[index]
        name = message.user_parameters["X-Id"]
        if self.drops_copies and name in end.seen:
            return
        end.seen.add(name)
        self.receive(role, message)

    def receive(self, role: Role, message: AclMessage) -> bool:
        """Take a message as an agent does: what is out of sequence may be answered, and nothing changes."""
        end = self.ends[role]
        before = end.conversation
        try:
            if before is None:
                moved = machine.start(self.protocol, role, message, NAME[role.other].name, self.now)
            else:
                moved = machine.receive(self.protocol, before, message)
        except RemoteProtocolError as error:
            assert end.conversation is before
            if error.answer and message.sender == NAME[role.other]:
                self._complain(end, message)
            return False
        end.conversation = moved
        if message.performative is Performative.CANCEL:
            end.cancel = message
        elif before is None or before.state != CANCELLING or moved.state == CANCELLING:
            end.heard = message
        return True

    def expire(self, role: Role) -> bool:
        """Let this end look at the clock."""
        end = self.ends[role]
        if end.conversation is None:
            return False
        before, end.conversation = (
            end.conversation,
            machine.expire(self.protocol, end.conversation, self.now),
        )
        return end.conversation is not before

    def lose(self, role: Role) -> None:
        """Tell this end that the other is gone."""
        end = self.ends[role]
        if end.conversation is not None:
            end.conversation = machine.lose(self.protocol, end.conversation)

    def restart(self, role: Role) -> None:
        """The agent goes down and comes back with what it wrote down."""
        end = self.ends[role]
        if end.conversation is not None:
            end.conversation = Conversation.from_json(end.conversation.to_json())

    def is_over(self, role: Role) -> bool:
        conversation = self.ends[role].conversation
        return conversation is not None and machine.is_over(self.protocol, conversation)

    def state(self, role: Role) -> str | None:
        conversation = self.ends[role].conversation
        return None if conversation is None else conversation.state

    def settle(self) -> None:
        """Deliver all that is on the way, in order, and let whoever is awaited come to an end."""
        for _ in range(100):
            self.deliver_all()
            if any(self.ends[role].inbox for role in PARTIES):
                continue
            if self.let_all_end():
                continue
            last_words = [
                (role, choice) for role in PARTIES for choice in ENDINGS if self._leads_on(role, choice)
            ]
            if not last_words:
                return
            self.say(*last_words[0])
        raise AssertionError("the two never come to an end")

    def take_a_turn(self) -> None:
        """Let whoever may lead on do so, if somebody may, and the other one hear it."""
        turns = (
            (role, choice)
            for role in PARTIES
            for choice in self.choices(role)
            if choice[0] not in {"cancel", "not-understood"} and self._leads_on(role, choice)
        )
        turn = next(turns, None)
        if turn is not None:
            self.say(*turn)
        self.deliver_all()

    def deliver_all(self) -> None:
        """Let everything that is on the way arrive, in order."""
        for role in PARTIES:
            while self.ends[role].inbox:
                self.deliver(role)

    def would_say(self, role: Role, act: str) -> AclMessage:
        """A message of this act, as this end would write it; nothing happens."""
        message = self._compose(self.ends[role], act, "none", False, None)
        return message.model_copy(update={"receiver": (NAME[role.other],)})

    def remark(self, role: Role) -> AclMessage:
        """Something outside of any protocol."""
        told = AclMessage(performative=Performative.INFORM, sender=NAME[role])
        return told.model_copy(update={"receiver": (NAME[role.other],)})

    def recorded(self) -> list[Entry]:
        """What was said, as it would be recorded: quickly, so that anything may have crossed."""
        return [
            Entry(line=number, time=NOW + timedelta(milliseconds=number), message=message)
            for number, message in enumerate(self.said, start=1)
        ]

    def name(self, role: Role) -> str:
        return NAME[role].name

    def _leads_on(self, role: Role, choice: Choice) -> bool:
        """Whether this end may say that now, and is elsewhere afterwards."""
        conversation = self.ends[role].conversation
        if conversation is None or (choice[2] and conversation.state != CANCELLING):
            return False
        act, kind, answers_cancel = choice
        try:
            message = self._compose(self.ends[role], act, kind, answers_cancel, None)
            return machine.say(self.protocol, conversation, message).state != conversation.state
        except LocalProtocolError:
            return False

    def _compose(
        self, end: End, act: str, kind: str, answers_cancel: bool, reply_by: datetime | None
    ) -> AclMessage:
        answered = end.cancel if answers_cancel else end.heard
        in_reply_to = answered.reply_with if answered is not None and act != "cancel" else None
        return self._write(end, act, kind, in_reply_to, reply_by)

    def _write(
        self, end: End, act: str, kind: str, in_reply_to: str | None, reply_by: datetime | None
    ) -> AclMessage:
        self._count += 1
        return AclMessage(
            performative=Performative(act),
            sender=NAME[end.role],
            content=CONTENTS[kind],
            protocol=self.protocol.name,
            conversation_id="c1",
            reply_with=f"m{self._count}" if self.names_messages else None,
            in_reply_to=in_reply_to,
            reply_by=reply_by,
            user_parameters={"X-Id": str(self._count)},
        )

    def _complain(self, end: End, message: AclMessage) -> None:
        """Answer not-understood as the policy says: beside the conversation, which does not change."""
        answer = self._write(end, "not-understood", "none", message.reply_with, None)
        self._post(end.role.other, answer)

    def _post(self, to: Role, message: AclMessage) -> None:
        self.said.append(message.model_copy(update={"receiver": (NAME[to],)}))
        self.ends[to].inbox.append(message)


def _kinds(protocol: Protocol, act: Performative) -> tuple[str, ...]:
    """The kinds of content with which an end may say this."""
    acts = {name for _state, _role, name in protocol.transitions}
    special = sorted(name.partition("/")[2] for name in acts if name.startswith(f"{act.value}/"))
    return *(("done", "result") if act is Performative.INFORM else ("none",)), *special
