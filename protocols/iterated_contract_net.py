"""fipa-iterated-contract-net (FIPA00030, SC00030H): a contract net of several rounds.

To every proposal the manager may also answer with a revised cfp, and does so only to those that
proposed; the others are rejected. Everything else is as in `contract_net`.
"""

from __future__ import annotations

from protocols.contract_net import CONTRACT_NET
from protocols.table import Protocol, Role

ITERATED_CONTRACT_NET = Protocol(
    name="fipa-iterated-contract-net",
    spec="SC00030H",
    start=CONTRACT_NET.start,
    transitions={**CONTRACT_NET.transitions, ("C2", Role.INITIATOR, "cfp"): "C1"},
    terminal=CONTRACT_NET.terminal,
    deadlines=CONTRACT_NET.deadlines,
)
