"""``[authority]`` of the society file: who may say what to whom, and whose signature is asked for.

::

    [authority]
    require_signature = false         # true: every message has to be signed, answers included

    [authority.groups]
    office = ["ann@localhost", "*@office.example"]

    [authority.keys]                  # of agents whose keys lie in another state folder
    "ann@localhost" = "ed25519:..."

    [[authority.rule]]
    who = ["@society"]                # the agents of this file and the operator: everything

    [[authority.rule]]
    who = ["@office"]
    receivers = ["coordinator"]       # agents of this file
    acts = ["request"]                # of the 22 performatives
    protocols = ["fipa-request"]      # "none" is what is said outside any
    actions = ["predict"]             # tags of ontologies' terms
    require_signature = true

Without rules the society's own domain may say everything, and nobody else anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from behaviours.authority import OUTSIDE, Policy, Rule, is_pattern, own_domain
from behaviours.signing import is_key
from ontology.acl import Performative
from protocols.registry import PROTOCOLS
from society.suggestions import unknown_among
from society.toml_lines import Place

SOCIETY = "society"
"""The group that is always there: the agents of the file and the operator."""

T = TypeVar("T")


def _some(given: tuple[T, ...] | None) -> tuple[T, ...] | None:
    # Not a least length: of a list with a fault, pydantic would say that it has none.
    if given == ():
        raise ValueError("should name at least one")
    return given


Words = Annotated[tuple[str, ...], AfterValidator(_some)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class RuleTable(_Table):
    """``[[authority.rule]]``: something that is allowed. What is left out allows everything of its kind."""

    who: Words
    """Bare JIDs, ``*@domain``, ``*``, and groups as ``@name``."""
    receivers: Words | None = None
    """Names of agents of the file."""
    acts: Words | None = None
    protocols: Words | None = None
    """FIPA's names, and ``none`` for what is said outside any protocol."""
    actions: Words | None = None
    """Tags of ontologies' terms."""
    require_signature: bool = False


class AuthorityTable(_Table):
    """``[authority]``: the policy."""

    require_signature: bool = False
    sign: bool | None = None
    """Whether our agents sign what they say; by default where anything here asks for signatures."""
    groups: Mapping[str, Words] = Field(default_factory=dict)
    keys: Mapping[str, str] = Field(default_factory=dict)
    """Bare JID to public key: what is written here stands above what the directory says."""
    rules: Annotated[tuple[RuleTable, ...] | None, Field(alias="rule"), AfterValidator(_some)] = None

    @property
    def signs(self) -> bool:
        """Whether our agents sign what they say."""
        if self.sign is not None:
            return self.sign
        return self.require_signature or any(rule.require_signature for rule in self.rules or ())


def faults(table: AuthorityTable) -> Iterator[tuple[Place, str]]:
    """What stands in the table that can mean nothing, with its place in the table."""
    for name, patterns in table.groups.items():
        if name == SOCIETY:
            text = f"the group @{SOCIETY} is there already: the agents of this file; choose another name"
            yield ("groups", name), text
        for pattern in patterns:
            if not is_pattern(pattern):
                yield ("groups", name), f"group {name!r}: {_no_pattern(pattern, 'no further group')}"
    for name, key in table.keys.items():
        if not is_pattern(name) or "*" in name:
            yield ("keys", name), f"[authority.keys]: {name!r} is no bare JID; write e.g. 'ann@example.org'"
        elif not is_key(key):
            text = "that is no public key: write one as `locution check` shows it, ed25519: and base64"
            yield ("keys", name), f"[authority.keys] {name}: {text}"
    for number, rule in enumerate(table.rules or ()):
        for key, text in _rule_faults(rule):
            yield ("rule", number, key), f"rule {number + 1} of [authority] {key}: {text}"


def _rule_faults(rule: RuleTable) -> Iterator[tuple[str, str]]:
    for pattern in rule.who:
        if not pattern.startswith("@") and not is_pattern(pattern):
            yield "who", _no_pattern(pattern, "@group for a group")
    known = {
        "acts": ("act", [each.value for each in Performative]),
        "protocols": ("protocol", [*PROTOCOLS, OUTSIDE]),
    }
    for key, (what, names) in known.items():
        for each in getattr(rule, key) or ():
            if each not in names:
                yield key, unknown_among("FIPA", what, each, names)


def _no_pattern(text: str, group: str) -> str:
    return f"{text!r} is no pattern: write ann@example.org, *@example.org, * for anybody, or {group}"


def policy_of(
    table: AuthorityTable | None, *, domain: str, accounts: Mapping[str, str], operator: str
) -> Policy:
    """The policy that a table says.

    Args:
        table: without `faults`; None where the file has none.
        domain: of the society.
        accounts: bare JIDs of the agents of the file, by name.
        operator: the bare JID of the operator.
    """
    if table is None or table.rules is None:
        return own_domain(domain, require_signature=table is not None and table.require_signature)
    groups = {**table.groups, SOCIETY: (*accounts.values(), operator)}
    rules = tuple(_rule(each, accounts) for each in table.rules)
    return Policy(rules=rules, groups=groups, require_signature=table.require_signature)


def _rule(table: RuleTable, accounts: Mapping[str, str]) -> Rule:
    # A receiver that is not there has no JID: the rule is then for nobody, and `idle` says so.
    receivers, acts, protocols = table.receivers, table.acts, table.protocols
    there = frozenset(accounts[each] for each in receivers or () if each in accounts)
    return Rule(
        who=table.who,
        receivers=None if receivers is None else there,
        acts=None if acts is None else frozenset(map(Performative, acts)),
        protocols=None if protocols is None else frozenset(map(_own_name, protocols)),
        actions=None if table.actions is None else frozenset(table.actions),
        require_signature=table.require_signature,
    )


def _own_name(protocol: str) -> str:
    """What a table calls itself: FIPA spells some names in two ways."""
    return PROTOCOLS[protocol].name if protocol in PROTOCOLS else protocol


def idle(
    table: AuthorityTable, *, agents: Iterable[str], tags: Iterable[str] | None
) -> Iterator[tuple[Place, str]]:
    """What stands in the rules and can never match, with its place in the table.

    Args:
        table: without `faults`.
        agents: names of the agents of the file.
        tags: of every term that these agents understand; None where that is not known.
    """
    groups = [f"@{name}" for name in (*table.groups, SOCIETY)]
    for number, rule in enumerate(table.rules or ()):
        named = {
            "who": ("group", [each for each in rule.who if each.startswith("@")], groups),
            "receivers": ("agent", rule.receivers or (), list(agents)),
            "actions": ("term", rule.actions or () if tags is not None else (), sorted(tags or ())),
        }
        for key, (what, given, known) in named.items():
            for each in given:
                if each not in known:
                    told = unknown_among("this society", what, each, known)
                    text = f"rule {number + 1} of [authority] can never match for {each!r}: {told}"
                    yield ("rule", number, key), text
