"""From a recorded trace to findings: who broke which rule of which protocol.

Pure: the trace is all that is known. Where it leaves a doubt, as about what had arrived when somebody
spoke, the doubt is in favour of the speaker (`protocols.exchange`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Set
from datetime import datetime

from ontology.acl import AclMessage, Performative
from ontology.errors import shown
from protocols.contract_net import CONTRACT_NET
from protocols.exchange import Due, Exchange, acts_of
from protocols.findings import Finding, Rule
from protocols.registry import PROTOCOLS
from protocols.request import REQUEST
from protocols.table import ANY, PARTIES, Protocol, Role
from protocols.traces import Entry, ordered


def audit(entries: Iterable[Entry]) -> list[Finding]:
    """Hold a trace against the protocols; findings in the order of its lines."""
    as_said = ordered(entries)
    auditor = _Auditor({each.sender for each in as_said})
    for entry in as_said:
        for receiver in entry.receivers:
            auditor.take(entry, receiver)
    auditor.close()
    return sorted(auditor.findings, key=lambda each: each.line)


class _Auditor:
    def __init__(self, speakers: Set[str]) -> None:
        self.findings: list[Finding] = []
        self._speakers = speakers
        """Who says anything in the trace. What others say is not recorded, and may explain anything."""
        self._unrecorded: set[str] = set()
        self._exchanges: defaultdict[str, list[Exchange]] = defaultdict(list)
        self._named: defaultdict[str, list[Entry]] = defaultdict(list)
        """Messages by their reply-with."""
        self._hopeless: set[str] = set()
        """Conversations of a protocol that nobody here knows."""
        self._now: datetime | None = None

    def take(self, entry: Entry, receiver: str) -> None:
        """Look at one message to one receiver."""
        message = entry.message
        self._now = entry.time if self._now is None else max(self._now, entry.time)
        exchange = self._find(entry, receiver)
        if exchange is not None:
            self._look_at_the_clock(exchange, entry)
        if not self._has_conversation(entry) or self._is_of_the_platform(exchange, entry, receiver):
            pass
        elif exchange is not None:
            self._go_on(exchange, entry, receiver)
        elif not self._is_between_others(entry, receiver):
            self._begin(entry, receiver)
        if message.reply_with is not None:
            self._named[message.reply_with].append(entry)

    def close(self) -> None:
        """What is left undone at the end of the trace."""
        for exchange in [each for exchanges in self._exchanges.values() for each in exchanges]:
            if not exchange.is_lost:
                self._close(exchange, exchange.last.time if self._now is None else self._now)

    def _close(self, exchange: Exchange, now: datetime) -> None:
        if exchange.due is not None and exchange.due.limit < now:
            self._overdue(exchange, exchange.due, exchange.due.entry, "has not answered")
        elif not exchange.may_be_over(now):
            last, name = exchange.last, exchange.protocol.name
            role = next(iter(exchange.roles_of(last.sender)), None)
            text = f"had the last word in conversation {shown(exchange.id)!r} of {name}, which never ended"
            self._tell(Rule.NEVER_ENDED, last, text, exchange, role)

    def _find(self, entry: Entry, receiver: str) -> Exchange | None:
        """The latest exchange of these two under this conversation-id."""
        names = frozenset({entry.sender, receiver})
        known = self._exchanges.get(entry.message.conversation_id or "", [])
        return next((each for each in reversed(known) if each.names == names), None)

    def _has_conversation(self, entry: Entry) -> bool:
        message = entry.message
        if message.conversation_id is not None:
            return message.conversation_id not in self._hopeless
        answered = self._named.get(message.in_reply_to or "", [])
        if message.protocol is not None:
            text = f"named protocol {shown(message.protocol)} and no conversation-id"
            self._tell(Rule.MISSING_CONVERSATION_ID, entry, text)
        elif any(each.message.conversation_id for each in answered):
            text = f"answered line {answered[-1].line} without its conversation-id"
            self._tell(Rule.MISSING_CONVERSATION_ID, entry, text)
        return False

    def _is_doubtful(self, protocol: Protocol, role: Role, entry: Entry, receiver: str) -> bool:
        """Whether it may be in order after something that is not recorded; then there is a note of it."""
        act = entry.message.performative.value
        if receiver in self._speakers or not acts_of(protocol, role) & {act, ANY}:
            return False
        if receiver not in self._unrecorded:
            self._unrecorded.add(receiver)
            text = f"speaks with {receiver}, of whom nothing is recorded: what that explains is not judged"
            self._tell(Rule.NOT_RECORDED, entry, text)
        return True

    def _is_of_the_platform(self, exchange: Exchange | None, entry: Entry, receiver: str) -> bool:
        """The agent management system says that a message could not be delivered (FIPA00067)."""
        message = entry.message
        if exchange is not None or message.performative is not Performative.FAILURE or message.sender is None:
            return False
        if message.sender.local_name != "ams":
            return False
        lost = self._named.get(message.in_reply_to or "", [])
        for each in self._exchanges.get(message.conversation_id or "", []):
            if receiver in each.names and (
                not lost or any(set(sent.receivers) & each.names for sent in lost)
            ):
                each.is_lost = True
        return True

    def _is_between_others(self, entry: Entry, receiver: str) -> bool:
        """In recruiting, targets reply to the initiator under the proxy's conversation-id."""
        found = False
        for each in self._exchanges.get(entry.message.conversation_id or "", []):
            if any(role is Role.TARGET for _state, role, _act in each.protocol.transitions):
                found = True
                if each.sides[Role.INITIATOR].name == receiver:
                    each.hear(entry)
        return found

    def _begin(self, entry: Entry, receiver: str) -> None:
        """A message of two agents that have no such conversation yet."""
        message = entry.message
        act, name = message.performative, message.protocol
        protocol = PROTOCOLS.get(name) if name is not None else _OPENINGS.get(act)
        if name is not None and protocol is None:
            self._hopeless.add(message.conversation_id or "")
            if act is not Performative.NOT_UNDERSTOOD:
                text = f"named protocol {shown(name)!r}, which is none of FIPA's"
                self._tell(Rule.UNKNOWN_PROTOCOL, entry, text)
        elif protocol is not None and protocol.opens_with(act):
            self._open(protocol, entry, receiver)
        elif act is Performative.NOT_UNDERSTOOD and entry.message.in_reply_to in self._named:
            return  # about something that opens no conversation
        elif protocol is not None and any(
            self._is_doubtful(protocol, role, entry, receiver) for role in PARTIES
        ):
            return
        elif name is not None or self._is_answer(message):
            rule, text = Rule.REPLY_TO_NOBODY, "which nobody opened"
            if protocol is not None and act.value not in acts_of(protocol, Role.PARTICIPANT):
                rule, text = Rule.OUT_OF_SEQUENCE, f"and that opens none of {protocol.name}"
            where = f"in conversation {shown(message.conversation_id)!r}"
            self._tell(rule, entry, f"said {act.value} {where}, {text}")

    def _is_answer(self, message: AclMessage) -> bool:
        return message.in_reply_to is not None and any(
            each.message.protocol is not None for each in self._named.get(message.in_reply_to, [])
        )

    def _open(self, protocol: Protocol, entry: Entry, receiver: str) -> None:
        id_ = entry.message.conversation_id or ""
        # One initiator may hold one conversation with many participants under one id.
        for other in self._exchanges[id_]:
            if other.sides[Role.INITIATOR].name != entry.sender or other.protocol is not protocol:
                self._reused(entry, other)
                break
        self._exchanges[id_].append(Exchange(protocol, entry, receiver))

    def _reused(self, entry: Entry, other: Exchange) -> None:
        text = (
            f"opened another conversation under the conversation-id {shown(other.id)!r}, "
            f"which {other.first.sender} has used in line {other.first.line}"
        )
        self._tell(Rule.REUSED_CONVERSATION_ID, entry, text)

    def _go_on(self, exchange: Exchange, entry: Entry, receiver: str) -> None:
        message = entry.message
        roles = exchange.roles_of(entry.sender)
        named = PROTOCOLS.get(message.protocol) if message.protocol is not None else exchange.protocol
        if named is exchange.protocol:
            fault = self._answers_amiss(exchange, entry)
            if fault is not None:
                if not self._excused(exchange, roles, entry, receiver):
                    self._tell(*fault, exchange, roles[0])
                return
        opens = named is not None and named.opens_with(message.performative)
        if named is not exchange.protocol and not opens:
            text = f"named protocol {shown(message.protocol)} in a conversation of {exchange.protocol.name}"
            self._tell(Rule.OUT_OF_SEQUENCE, entry, text, exchange, roles[0])
            return
        faults = []
        for role in roles if named is exchange.protocol else ():  # two, if an agent speaks with itself
            told = exchange.say(role, entry)
            if told is None:
                return
            faults.append(told)
        if faults and self._excused(exchange, roles, entry, receiver):
            return
        if named is not None and opens:
            self._reused(entry, exchange)
            if exchange.was_over(roles[0], entry, surely=False):
                self._exchanges[exchange.id].append(Exchange(named, entry, receiver))
        elif any(exchange.was_over(role, entry) for role in roles):
            text = f"said {message.performative.value} in conversation {shown(exchange.id)!r} after its end"
            self._tell(Rule.AFTER_THE_END, entry, text, exchange, roles[0])
        else:
            self._tell(Rule.OUT_OF_SEQUENCE, entry, f"broke the sequence: {faults[0]}", exchange, roles[0])

    def _excused(self, exchange: Exchange, roles: list[Role], entry: Entry, receiver: str) -> bool:
        """Whether the other side has spoken, and that is not recorded."""
        if not self._is_doubtful(exchange.protocol, roles[0], entry, receiver):
            return False
        exchange.is_lost = True  # from here on nobody knows where it stands
        return True

    def _answers_amiss(self, exchange: Exchange, entry: Entry) -> tuple[Rule, Entry, str] | None:
        """Whether a message answers what it may not answer."""
        name = entry.message.in_reply_to
        roles = exchange.roles_of(entry.sender)
        if name is None:
            last = [each for role in roles for each in exchange.sides[role].incoming[-1:]]
            both = [entry, *last]
            if len(both) > 1 and all(_is_not_understood(each) for each in both):
                text = f"answered the not-understood of line {last[0].line}"
                return Rule.ANSWER_TO_NOT_UNDERSTOOD, entry, text
            return None
        for role in roles:
            answered = exchange.incoming_named(role, name)
            if answered is not None:
                if _is_not_understood(answered):
                    text = f"answered the not-understood of line {answered.line}"
                    return Rule.ANSWER_TO_NOT_UNDERSTOOD, entry, text
                return None
        elsewhere = self._named.get(name, [])
        if not elsewhere:
            told = "which no message before bears"
        else:
            other = elsewhere[-1]
            told = f"which is line {other.line}, of conversation {shown(other.message.conversation_id)!r}"
            if other.message.conversation_id == exchange.id:
                told = f"which is line {other.line} and was not said to {entry.sender}"
        return (
            Rule.FOREIGN_IN_REPLY_TO,
            entry,
            f"said {entry.message.performative.value} in reply to {shown(name)!r}, {told}",
        )

    def _look_at_the_clock(self, exchange: Exchange, entry: Entry) -> None:
        due = exchange.due
        if due is None or exchange.is_lost or entry.time <= due.limit:
            return
        if due.role in exchange.roles_of(entry.sender):
            self._overdue(exchange, due, entry, "answered late:")
        else:
            self._overdue(exchange, due, due.entry, "has not answered")
        exchange.due = None

    def _overdue(self, exchange: Exchange, due: Due, entry: Entry, how: str) -> None:
        asked = due.entry.message.performative.value
        if entry is due.entry:
            told = f"{how} the {asked} by its reply-by, {due.limit.isoformat()}"
        else:
            told = f"{how} the {asked} of line {due.entry.line} had the reply-by {due.limit.isoformat()}"
        self._tell(Rule.UNANSWERED, entry, told, exchange, due.role, exchange.sides[due.role].name)

    def _tell(
        self,
        rule: Rule,
        entry: Entry,
        text: str,
        exchange: Exchange | None = None,
        role: Role | None = None,
        agent: str | None = None,
    ) -> None:
        self.findings.append(
            Finding(
                rule=rule,
                line=entry.line,
                agent=agent or entry.sender,
                role=role,
                protocol=exchange.protocol.name if exchange is not None else entry.message.protocol,
                conversation_id=entry.message.conversation_id,
                text=text,
            )
        )


_OPENINGS = {Performative.REQUEST: REQUEST, Performative.CFP: CONTRACT_NET}
"""How acts are taken that name no protocol, as chat clients write them."""


def _is_not_understood(entry: Entry) -> bool:
    return entry.message.performative is Performative.NOT_UNDERSTOOD
