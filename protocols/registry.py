"""From the protocol parameter of a message to the table: ``'fipa-request'`` to `REQUEST`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from protocols.brokering import BROKERING
from protocols.contract_net import CONTRACT_NET
from protocols.dutch_auction import DUTCH_AUCTION
from protocols.english_auction import ENGLISH_AUCTION
from protocols.iterated_contract_net import ITERATED_CONTRACT_NET
from protocols.propose import PROPOSE
from protocols.query import QUERY
from protocols.recruiting import RECRUITING
from protocols.request import REQUEST
from protocols.request_when import REQUEST_WHEN
from protocols.subscribe import SUBSCRIBE
from protocols.table import Protocol
from protocols.vote import VOTE

TABLES: tuple[Protocol, ...] = (
    REQUEST,
    QUERY,
    REQUEST_WHEN,
    CONTRACT_NET,
    ITERATED_CONTRACT_NET,
    ENGLISH_AUCTION,
    DUTCH_AUCTION,
    BROKERING,
    RECRUITING,
    SUBSCRIBE,
    PROPOSE,
    VOTE,
)
"""FIPA's eleven interaction protocols, in the order of their specifications' numbers, and one of our own."""

ALIASES: Mapping[str, Protocol] = MappingProxyType(
    {"fipa-auction-english": ENGLISH_AUCTION, "fipa-auction-dutch": DUTCH_AUCTION}
)
"""Tokens that FIPA spells in two ways: understood, but not what a table calls itself."""

PROTOCOLS: Mapping[str, Protocol] = MappingProxyType({**{each.name: each for each in TABLES}, **ALIASES})
"""Every protocol that is spoken here, by each token for it."""
