"""What kind of message is it, if it belongs to no conversation here: an answer, news, or something else."""

from __future__ import annotations

from functools import cache

from ontology.acl import AclMessage, Performative
from protocols.contract_net import CONTRACT_NET
from protocols.registry import PROTOCOLS
from protocols.request import REQUEST
from protocols.table import EXPIRED, Protocol, Role

OPENING_WITHOUT_PROTOCOL = {Performative.REQUEST: REQUEST, Performative.CFP: CONTRACT_NET}
"""How acts are taken that name no protocol, as chat clients and many plain agents write them."""

ANSWERS = frozenset(
    {
        Performative.AGREE,
        Performative.REFUSE,
        Performative.PROPOSE,
        Performative.INFORM,
        Performative.FAILURE,
        Performative.NOT_UNDERSTOOD,
    }
)
"""Acts of participants: out of sequence they are counted and dropped, as G3 of our policy says."""

_ENDINGS = ANSWERS - {Performative.AGREE, Performative.PROPOSE}
"""What is left to listen to for one that has not asked, but is to be told."""


def is_answer(message: AclMessage) -> bool:
    """Whether a message can only be a participant's, in some conversation."""
    is_of_one = message.protocol is not None or message.in_reply_to is not None
    return message.performative in ANSWERS and is_of_one


def may_be_refused(message: AclMessage) -> bool:
    """Whether a message that begins nothing can be refused: two that refuse each other must find an end."""
    is_inform = message.performative is Performative.INFORM
    return not is_answer(message) if is_inform else message.performative not in ANSWERS


def is_told(message: AclMessage, protocol: Protocol | None) -> bool:
    """Whether a message is for a listener: outside any protocol, or the end of others' conversation."""
    if message.protocol is None:
        return message.performative is Performative.INFORM
    return protocol is not None and message.performative in _ENDINGS


def protocol_of(message: AclMessage) -> Protocol | None:
    """The protocol that a message names, or that is meant where it names none."""
    if message.protocol is None:
        return OPENING_WITHOUT_PROTOCOL.get(message.performative)
    return PROTOCOLS.get(message.protocol)


def takes_late(protocol: Protocol | None, message: AclMessage) -> bool:
    """Whether a protocol answers what a participant says when its time is up, as the contract nets do."""
    return protocol is not None and protocol.following(EXPIRED, Role.PARTICIPANT, message) is not None


def only_begins(message: AclMessage) -> bool:
    """Whether a message can stand nowhere but at the beginning of a conversation."""
    protocol = protocol_of(message)
    return protocol is not None and _comes_first(protocol.name, message.performative)


@cache
def _comes_first(name: str, act: Performative) -> bool:
    protocol = PROTOCOLS[name]
    places = {
        state
        for state, role, each in protocol.transitions
        if role is Role.INITIATOR and each.partition("/")[0] == act
    }
    return places == {protocol.start}
