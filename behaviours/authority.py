"""Who may say what to whom: rules as data, and the sentence about the one that is missing.

A rule allows; nothing forbids. Without rules the agents of our own domain may say everything and others
nothing; where somebody has written rules, what none of them allows is refused.

What opens a conversation is held against the rules, and so is whatever is said outside any protocol. What
follows in a conversation is held against the protocol's table: whoever may ask may accept the offer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from ontology.content import split
from ontology.errors import ContentError, shown
from ontology.interaction import Announcement, AuctionStarted, Proxy, Sale, When

ANYBODY = "*"

OUTSIDE = "none"
"""In a rule's protocols: what is said outside any protocol."""

_FRAMES: Mapping[str, str] = {
    When.tag: "action",
    AuctionStarted.tag: "lot",
    Sale.tag: "lot",
    Proxy.tag: "message",
    Announcement.tag: "content",
}
"""Terms of the protocols themselves, with the field in which the agents' own terms stand."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Something that is allowed. What is None allows everything of its kind."""

    who: tuple[str, ...]
    """Bare JIDs, ``*@domain``, ``*`` for anybody, or ``@group``."""
    receivers: frozenset[str] | None = None
    """Bare JIDs of agents of ours to whom it may be said."""
    acts: frozenset[Performative] | None = None
    protocols: frozenset[str] | None = None
    """As the tables of `protocols.registry` call themselves, and `OUTSIDE`."""
    actions: frozenset[str] | None = None
    """Tags of ontologies' terms: what is asked for or spoken of. What stands in a term of the protocols' own
    (`_FRAMES`) is meant by its own tag, and whatever may stand there by that of the frame."""
    require_signature: bool = False
    """Whether only what is signed is allowed by it."""


@dataclass(frozen=True, kw_only=True)
class Saying:
    """What somebody says, as far as rules look at it."""

    peer: AgentIdentifier
    receiver: AgentIdentifier
    act: Performative | None
    """None for what is no ACL message."""
    protocol: str | None
    """The table's name; None outside any protocol."""
    tags: tuple[str, ...] = ()
    """What it is about: the content's tag, and that of the term in a frame; empty where there is none."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the rules say of a message."""

    why_not: str | None = None
    """One sentence with the rule that is missing; None where one allows it."""
    is_to_be_signed: bool = False


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The rules of a society."""

    rules: tuple[Rule, ...]
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Name to patterns, which name no other groups. A group that is not here has nobody in it."""
    require_signature: bool = False
    """Whether everything has to be signed, answers included."""
    is_written: bool = True
    """Whether somebody has written the rules; False for `own_domain`."""

    @cached_property
    def looks_at_tags(self) -> bool:
        """Whether any rule wants to know what a message is about."""
        return any(rule.actions is not None for rule in self.rules)

    @cached_property
    def wants_signatures(self) -> bool:
        """Whether anything at all has to be signed."""
        return self.require_signature or any(rule.require_signature for rule in self.rules)

    def judge(self, saying: Saying) -> Verdict:
        """Hold a message against the rules."""
        found = [rule for rule in self._for(saying.peer, saying.receiver) if _allows(rule, saying)]
        if not found:
            return Verdict(why_not=self._missing(saying))
        is_to_be_signed = self.require_signature or all(rule.require_signature for rule in found)
        return Verdict(is_to_be_signed=is_to_be_signed)

    def is_to_be_signed(
        self, peer: AgentIdentifier, receiver: AgentIdentifier, protocol: str | None = None
    ) -> bool:
        """Whether what an agent goes on with is to be signed: if any rule that may have let it begin says so.

        Args:
            peer: who speaks.
            receiver: who is spoken to.
            protocol: of the conversation; None for any.
        """
        return self.require_signature or any(
            rule.require_signature and (protocol is None or _within(protocol, rule.protocols))
            for rule in self._for(peer, receiver)
        )

    def _for(self, peer: AgentIdentifier, receiver: AgentIdentifier) -> Iterator[Rule]:
        for names, domains, is_anybody, rule in self._compiled:
            is_meant = is_anybody or peer.name in names or peer.domain in domains
            if is_meant and _within(receiver.name, rule.receivers):
                yield rule

    @cached_property
    def _compiled(self) -> tuple[tuple[frozenset[str], frozenset[str], bool, Rule], ...]:
        return tuple((*_told_apart(self._patterns(rule)), rule) for rule in self.rules)

    def _patterns(self, rule: Rule) -> Iterator[str]:
        for pattern in rule.who:
            if pattern.startswith("@"):
                yield from self.groups.get(pattern[1:], ())
            else:
                yield pattern

    def _missing(self, saying: Saying) -> str:
        peer, receiver = saying.peer, saying.receiver.local_name
        if not self.is_written:
            return f"{peer} may not ask {receiver} for anything: it is of another domain"
        wanted = [("who", peer.name), ("receivers", receiver)]
        if saying.act is not None:
            wanted += [("acts", saying.act.value), ("protocols", saying.protocol or OUTSIDE)]
        wanted += [("actions", shown(tag)) for tag in saying.tags[-1:]]
        rule = ", ".join(f'{key} = ["{value}"]' for key, value in wanted)
        act = "this" if saying.act is None else saying.act.value
        return f"{peer} may not send {act} to {receiver}: no rule allows it; it takes one with {rule}"


def own_domain(domain: str, *, require_signature: bool = False) -> Policy:
    """The policy where none is written: those of our own domain may say everything, others nothing."""
    rules = (Rule(who=(f"*@{domain}",)),)
    return Policy(rules=rules, require_signature=require_signature, is_written=False)


def is_pattern(text: str) -> bool:
    """Whether a text is one of a rule's patterns: a bare JID, ``*@domain`` or ``*``; groups aside."""
    if text == ANYBODY:
        return True
    local, at, domain = text.partition("@")
    if not (local and at and domain) or any(each in domain for each in "@/*"):
        return False
    if "*" in local and local != ANYBODY:
        return False
    try:
        AgentIdentifier(name=text)
    except ValueError:
        return False
    return "/" not in local


def tags_of(message: AclMessage) -> tuple[str, ...]:
    """What a message is about: its content's tag, then that of what stands in it, for one of `_FRAMES`."""
    try:
        tag, arguments = split(message.content)
    except ContentError:
        return ()
    nested = arguments.get(_FRAMES.get(tag, ""))
    content = nested.get("content") if isinstance(nested, dict) else None
    inner = tuple(content) if isinstance(content, dict) and len(content) == 1 else ()
    return (tag, *inner)


def _allows(rule: Rule, saying: Saying) -> bool:
    if saying.act is None and rule.acts is not None:
        return False
    return (
        (saying.act is None or _within(saying.act, rule.acts))
        and _within(saying.protocol or OUTSIDE, rule.protocols)
        and (rule.actions is None or not rule.actions.isdisjoint(saying.tags))
    )


def _within(value: str, allowed: frozenset[str] | frozenset[Performative] | None) -> bool:
    return allowed is None or value in allowed


def _told_apart(patterns: Iterable[str]) -> tuple[frozenset[str], frozenset[str], bool]:
    """Bare JIDs, domains, and whether anybody is meant; in lower case, as an agent's name is."""
    names, domains, is_anybody = set(), set(), False
    for pattern in patterns:
        if pattern == ANYBODY:
            is_anybody = True
        elif pattern.startswith("*@"):
            domains.add(pattern[2:].lower())
        else:
            names.add(pattern.lower())
    return frozenset(names), frozenset(domains), is_anybody
