"""From the protocol parameter of a message to the table: ``'fipa-request'`` to `REQUEST`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from protocols.contract_net import CONTRACT_NET
from protocols.request import REQUEST
from protocols.table import Protocol

PROTOCOLS: Mapping[str, Protocol] = MappingProxyType({each.name: each for each in (REQUEST, CONTRACT_NET)})
"""Every protocol that is spoken here, by FIPA's token."""
