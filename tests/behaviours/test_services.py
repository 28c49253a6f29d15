"""`behaviours.services`: which protocols an agent speaks, by its handlers."""

from __future__ import annotations

from typing import Any

import pytest

from behaviours.handlers import Handlers
from behaviours.services import spoken
from ontology.interaction import Proxy
from protocols.registry import TABLES
from tests.behaviours.houses import IsFree, Move, Temperatures

NETS = ("fipa-contract-net", "fipa-iterated-contract-net")


async def handle(*_what: Any) -> Any:
    """Do nothing."""


@pytest.mark.parametrize(
    ("kinds", "names"),
    [
        ({}, ()),
        ({"on": [Move]}, ("fipa-request",)),
        ({"bids": [Move]}, ()),
        ({"on": [Move], "bids": [Move]}, ("fipa-request", *NETS)),
        ({"on": [Move], "bids": [Temperatures]}, ("fipa-request",)),  # whoever wins could not do it
        ({"answers": [Temperatures]}, ("fipa-query",)),
        ({"confirms": [IsFree]}, ("fipa-query",)),
        ({"holds": [IsFree]}, ()),
        ({"on": [Move], "holds": [IsFree]}, ("fipa-request", "fipa-request-when")),
        ({"considers": [Move]}, ("fipa-propose",)),
        ({"votes": [Move]}, ()),
        ({"decided": [Move]}, ()),
        ({"votes": [Move], "decided": [Move]}, ("locution-vote",)),
        ({"publishes": [Temperatures]}, ("fipa-subscribe",)),
        ({"values": [Temperatures]}, ("fipa-english-auction", "fipa-dutch-auction")),
        ({"brokers": [Proxy]}, ("fipa-brokering", "fipa-recruiting")),
        ({"hears": [IsFree], "reads": [IsFree]}, ()),
    ],
)
def test_a_protocol_is_spoken_by_whoever_can_serve_what_opens_it(
    kinds: dict[str, list[Any]], names: tuple[str, ...]
) -> None:
    handlers: Any = {kind: dict.fromkeys(terms, handle) for kind, terms in kinds.items()}
    assert set(spoken(Handlers(**handlers))) == set(names)


def test_who_has_every_handler_speaks_all_in_the_order_of_the_tables() -> None:
    marks = {kind: {Move: handle, IsFree: handle, Proxy: handle} for kind in vars(Handlers())}
    handlers: Any = Handlers(**marks)
    assert spoken(handlers) == tuple(table.name for table in TABLES)
