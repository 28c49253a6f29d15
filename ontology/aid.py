"""Who an agent is: the AgentIdentifier of FIPA00023 section 3.1, and its mapping onto a JID.

An agent's name is its bare JID (``local@domain``), which makes it globally unique as FIPA asks.
Where the agent can be reached stands in ``addresses``, as ``xmpp:`` addresses that may carry a resource.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

SCHEME = "xmpp:"

_FORBIDDEN = re.compile(r"[\s\x00-\x1f\x7f\"<>]")


class AgentIdentifier(BaseModel):
    """An agent's name, the addresses it is reached at, and who resolves its name (FIPA00023, 3.1).

    Two identifiers denote the same agent when their names are equal; `is_same_agent` says so.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=3071)]
    """The globally unique name: a bare JID, in lower case. RFC 7622 allows 3071 bytes for a JID."""
    addresses: tuple[str, ...] = ()
    """Transport addresses in order of preference, e.g. ``xmpp:learner@example.org/gpu``."""
    resolvers: tuple[AgentIdentifier, ...] = ()
    """Agents that know further addresses, in order of preference."""

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        if _FORBIDDEN.search(name):
            raise ValueError(f"an agent's name holds no white space, quotes or angle brackets: {name!r}")
        return name.lower()

    @classmethod
    def of(cls, jid: str) -> AgentIdentifier:
        """Make the identifier of the agent behind a bare or full JID; the full JID becomes its address."""
        name, slash, _resource = jid.partition("/")
        return cls(name=name, addresses=(SCHEME + jid,) if slash else ())

    @property
    def jid(self) -> str:
        """Where a message for this agent goes: its first XMPP address, else its name."""
        for address in self.addresses:
            # JADE writes xmpp://ann@example.org.
            jid = address.removeprefix(SCHEME).removeprefix("//")
            if address.startswith(SCHEME) and jid:
                return jid
        return self.name

    @property
    def local_name(self) -> str:
        """The name up to the ``@``: how people call the agent within its own domain."""
        return self.name.partition("@")[0]

    @property
    def domain(self) -> str:
        """The name behind the ``@``; the whole name where there is none."""
        return self.name.rpartition("@")[2]

    def is_same_agent(self, other: AgentIdentifier) -> bool:
        """Whether both denote one agent: the name decides, whatever the addresses (FIPA00023, 3.1)."""
        return self.name == other.name

    def __str__(self) -> str:
        return self.name
