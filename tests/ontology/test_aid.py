"""An agent's identifier and the JID behind it."""

from __future__ import annotations

import pytest
from hypothesis import given
from pydantic import ValidationError

from ontology.aid import AgentIdentifier
from tests.ontology.strategies import EXAMPLES, full_jids, identifiers


def test_of_a_bare_jid():
    ann = AgentIdentifier.of("ann@example.org")
    assert (ann.name, ann.addresses, ann.resolvers) == ("ann@example.org", (), ())
    assert (ann.jid, ann.local_name, ann.domain, str(ann)) == (
        "ann@example.org", "ann", "example.org", "ann@example.org",
    )  # fmt: skip


def test_of_a_full_jid():
    ann = AgentIdentifier.of("Ann@Example.ORG/Desk/2")
    assert ann.name == "ann@example.org", "names compare in lower case"
    assert ann.addresses == ("xmpp:Ann@Example.ORG/Desk/2",)
    assert ann.jid == "Ann@Example.ORG/Desk/2", "a resource keeps its case (RFC 7622)"


def test_a_name_without_at_is_all_domain():
    platform = AgentIdentifier(name="example.org")
    assert (platform.local_name, platform.domain) == ("example.org", "example.org")


def test_the_first_xmpp_address_is_the_one_to_write_to():
    ann = AgentIdentifier(
        name="ann@a.org", addresses=("http://a.org/acc", "xmpp:ann@a.org/gpu", "xmpp:ann@a.org/cpu")
    )
    assert ann.jid == "ann@a.org/gpu"
    assert AgentIdentifier(name="ann@a.org", addresses=("http://a.org/acc",)).jid == "ann@a.org"


def test_an_xmpp_address_as_jade_writes_it_leads_to_the_same_jid():
    assert (
        AgentIdentifier(name="ping@host:1099/jade", addresses=("xmpp://jade@a.org/x",)).jid == "jade@a.org/x"
    )
    assert AgentIdentifier(name="ann@a.org", addresses=("xmpp:", "xmpp://")).jid == "ann@a.org"


def test_the_name_alone_decides_who_it_is():
    ann, elsewhere = AgentIdentifier.of("ann@a.org"), AgentIdentifier.of("ANN@a.org/desk")
    assert ann.is_same_agent(elsewhere)
    assert ann != elsewhere
    assert not ann.is_same_agent(AgentIdentifier.of("ann@b.org"))


@pytest.mark.parametrize(
    "name",
    [
        "",
        "ann @a.org",
        "ann\t@a.org",
        "ann\n@a.org",
        "ann\u2003@a.org",
        '"ann"@a.org',
        "<ann@a.org>",
        "a\x00",
        "a\x7f",
    ],
)
def test_no_name(name):
    with pytest.raises(ValidationError):
        AgentIdentifier(name=name)


@pytest.mark.parametrize("jid", ["", "/desk", " @a.org", "a" * 3072])
def test_no_jid(jid):
    with pytest.raises(ValidationError):
        AgentIdentifier.of(jid)


def test_it_neither_changes_nor_grows():
    ann = AgentIdentifier.of("ann@a.org")
    with pytest.raises(ValidationError, match="frozen"):
        ann.name = "bob@a.org"
    with pytest.raises(ValidationError, match="extra"):
        AgentIdentifier(name="ann@a.org", nick="annie")


@EXAMPLES
@given(full_jids)
def test_a_jid_comes_back(jid):
    agent = AgentIdentifier.of(jid)
    assert agent.name == jid.partition("/")[0].lower()
    assert agent.jid == (jid if "/" in jid else agent.name)
    assert AgentIdentifier.of(agent.jid) == agent


@EXAMPLES
@given(identifiers)
def test_identifiers_are_values(agent):
    again = AgentIdentifier.model_validate_json(agent.model_dump_json())
    assert again == agent
    assert hash(again) == hash(agent)
    assert AgentIdentifier(name=agent.name).name == agent.name
