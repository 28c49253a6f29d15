"""The example with a broker: built-in kinds and agents of one's own, started by the society file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.conftest import Place


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Give the society of `examples/market.toml`, with everybody in the directory."""
    place = Place(tmp_path_factory.mktemp("market"), "market.toml", "market.py")
    place.start("up", "--json").event("ready")
    while len(place.run("agents", "--json")[1].of("agent")) < 4:
        pass  # an agent enters the directory once it runs
    yield place
    place.put_away()


def say(market: Place, *what: str) -> tuple[int, dict[str, Any]]:
    """Send a message; return the exit code and the last reply."""
    code, send = market.run("send", *what, "--json")
    return code, json.loads(send.lines[-1])


def test_a_customer_learns_all_prices_from_the_broker(market: Place) -> None:
    code, reply = say(market, "customer", "request", '{"compare": {"goods": "apples"}}')
    assert (code, reply["performative"]) == (0, "inform")
    prices = {"orchard@localhost": 2.5, "farm@localhost": 2.0}
    assert json.loads(reply["content"]) == {"prices": {"euros": prices}}


def test_what_nobody_sells_is_told(market: Place) -> None:
    code, reply = say(market, "customer", "request", '{"compare": {"goods": "gold"}}')
    assert (code, reply["performative"]) == (1, "failure")
    assert json.loads(reply["content"])["reason"]["text"] == "no agent was found that fits"


def test_the_broker_is_asked_from_the_command_line(market: Place) -> None:
    proxy = {
        "template": {"services": [{"name": "bread"}]},
        "performative": "query-ref",
        "message": {"content": {"price-of": {"goods": "bread"}}},
    }
    words = ("broker", "proxy", json.dumps({"proxy": proxy}), "--protocol", "fipa-brokering", "--wait", "2")
    code, send = market.run("send", *words, "--json")
    replies = [json.loads(line) for line in send.lines]
    contents = [json.loads(each["content"]) for each in replies if each["performative"] == "inform"]
    assert code == 0
    assert contents == [
        {"proxy-done": {"targets": ["bakery@localhost"]}},
        {"price": {"euros": 4.0}},
        {"proxy-ended": {"replies": 1}},
    ]
