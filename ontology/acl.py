"""What is said: the ACL message of FIPA00061 with its thirteen parameters, and the acts of FIPA00037."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, field_validator, model_validator

from ontology.aid import AgentIdentifier


class Performative(StrEnum):
    """The 22 communicative acts of FIPA00037 (SC00037J). There is no inform-done: that is content."""

    ACCEPT_PROPOSAL = "accept-proposal"
    AGREE = "agree"
    CANCEL = "cancel"
    CFP = "cfp"
    CONFIRM = "confirm"
    DISCONFIRM = "disconfirm"
    FAILURE = "failure"
    INFORM = "inform"
    INFORM_IF = "inform-if"
    INFORM_REF = "inform-ref"
    NOT_UNDERSTOOD = "not-understood"
    PROPAGATE = "propagate"
    PROPOSE = "propose"
    PROXY = "proxy"
    QUERY_IF = "query-if"
    QUERY_REF = "query-ref"
    REFUSE = "refuse"
    REJECT_PROPOSAL = "reject-proposal"
    REQUEST = "request"
    REQUEST_WHEN = "request-when"
    REQUEST_WHENEVER = "request-whenever"
    SUBSCRIBE = "subscribe"

    @classmethod
    def _missing_(cls, value: object) -> Performative | None:
        # FIPA00070: the name of an act is case-insensitive.
        if isinstance(value, str) and value != value.lower():
            return cls._value2member_map_.get(value.lower())  # type: ignore[return-value]
        return None


_USER_PARAMETER = re.compile(r"X-[A-Za-z0-9][A-Za-z0-9._-]*")

_Token = Annotated[str, Field(min_length=1, max_length=1024)]
"""A short parameter value. FIPA sets no limit; ours keeps an id from being used to carry content."""

UserParameters = Annotated[Mapping[str, str], PlainSerializer(dict, return_type=dict[str, str])]


class AclMessage(BaseModel):
    """One message, with the parameters of FIPA00061 (SC00061G); only the performative is mandatory.

    Messages never change: `reply` and `model_copy(update=...)` make new ones.

    Raises:
        pydantic.ValidationError: a parameter is malformed, or a protocol is named without the
            conversation-id that FIPA00061 section 2.5.1 obliges the initiator to set.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    performative: Performative
    sender: AgentIdentifier | None = None
    """Who speaks. On receipt it is what the server stamped, never what the peer claims."""
    receiver: tuple[AgentIdentifier, ...] = ()
    """Who is addressed: a set in FIPA; order is kept and repetition dropped."""
    reply_to: tuple[AgentIdentifier, ...] = ()
    """Who is to get the next message instead of the sender."""
    content: str | None = None
    language: _Token | None = None
    encoding: _Token | None = None
    ontology: _Token | None = None
    protocol: _Token | None = None
    conversation_id: _Token | None = None
    reply_with: _Token | None = None
    in_reply_to: _Token | None = None
    reply_by: datetime | None = None
    """The latest time for the next message of the conversation; aware, kept in UTC."""
    user_parameters: UserParameters = Field(default_factory=lambda: MappingProxyType({}))
    """User-defined parameters; each name starts with ``X-`` (FIPA00061, 2.6)."""

    @field_validator("receiver", "reply_to")
    @classmethod
    def _drop_repetition(cls, agents: tuple[AgentIdentifier, ...]) -> tuple[AgentIdentifier, ...]:
        return tuple({agent.name: agent for agent in agents}.values()) if len(agents) > 1 else agents

    @field_validator("reply_by")
    @classmethod
    def _require_zone(cls, reply_by: datetime | None) -> datetime | None:
        if reply_by is None:
            return None
        if reply_by.tzinfo is None:
            raise ValueError("reply-by needs a time zone: a local time means nothing to an agent elsewhere")
        try:
            return reply_by.astimezone(UTC)
        except OverflowError as error:
            raise ValueError("reply-by lies beyond the calendar when moved to UTC") from error

    @field_validator("user_parameters")
    @classmethod
    def _check_user_parameters(cls, parameters: Mapping[str, str]) -> Mapping[str, str]:
        for name in parameters:
            if not _USER_PARAMETER.fullmatch(name):
                raise ValueError(f"a user-defined parameter is named X-..., not {name!r} (FIPA00061, 2.6)")
        return MappingProxyType(dict(parameters))

    @model_validator(mode="after")
    def _require_conversation_id(self) -> AclMessage:
        if self.protocol is not None and self.conversation_id is None:
            raise ValueError(
                f"a message under protocol {self.protocol!r} needs a conversation-id (FIPA00061, 2.5.1)"
            )
        return self

    def __hash__(self) -> int:
        # Written out, because the mapping of user parameters has no hash.
        return hash((self.performative, self.sender, self.conversation_id, self.reply_with, self.content))

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> AclMessage:
        # Nothing in a message changes, so a copy may share it all; a mapping proxy cannot be copied.
        return self.__copy__()

    def reply(self, performative: Performative, **parameters: Any) -> AclMessage:
        """Answer this message as FIPA00061 asks: in the same conversation, protocol, ontology, language.

        The receivers are its reply-to, else its sender; in-reply-to is its reply-with; protocol,
        conversation-id, ontology, language and encoding are kept. The act and the content are the
        caller's; nothing else is copied, reply-by and user-defined parameters least of all.

        Args:
            performative: the act of the answer.
            **parameters: any further parameter of `AclMessage`, which overrides what would be kept.

        Raises:
            ValueError: the message names nobody to answer.
        """
        receiver = self.reply_to or ((self.sender,) if self.sender is not None else ())
        if not receiver and not parameters.get("receiver"):
            raise ValueError("this message has neither sender nor reply-to: nobody can be answered")
        kept: dict[str, Any] = {
            "receiver": receiver,
            "language": self.language,
            "encoding": self.encoding,
            "ontology": self.ontology,
            "protocol": self.protocol,
            "conversation_id": self.conversation_id,
            "in_reply_to": self.reply_with,
        }
        return AclMessage(performative=performative, **{**kept, **parameters})
