"""`society.keys`: whose key is known for certain, and from where."""

from __future__ import annotations

import logging
from contextlib import aclosing
from dataclasses import replace

from agents.base import LocutionAgent
from behaviours.outcomes import Refused, Succeeded
from behaviours.signing import SIGNATURE, SIGNED_AT, SigningKey, is_signed
from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from ontology.management import DfAgentDescription, Register, Search, ServiceDescription
from society import instrument
from society.client import coordinators, operator, search
from society.config import SERVER, load
from society.keys import KnownKeys, operator_ports, signing_keys
from society.state import StateFolder
from society.wiring import server_address
from tests.society.conftest import AGENTS

PUBLIC = SigningKey(SigningKey.new()).public
SIGNED = AGENTS + f'[authority]\nrequire_signature = true\n[authority.keys]\n"ann@x" = "{PUBLIC}"\n'


def test_a_key_that_another_process_makes_is_found_at_once(write_file):
    file = load(write_file(agents=SIGNED))
    state = StateFolder(file.society.state)
    state.prepare()
    known = KnownKeys(file, state)
    assert known("directory@localhost") is None
    made = StateFolder(file.society.state).keys(["directory"])
    assert known("directory@localhost") == made["directory"].public
    assert known("directory@elsewhere") is None
    assert known("ann@x") == PUBLIC


def test_what_the_file_says_stands_above_the_folder(write_file):
    file = load(write_file(agents=SIGNED.replace("ann@x", "directory@localhost")))
    state = StateFolder(file.society.state)
    state.prepare()
    state.keys(["directory"])
    assert KnownKeys(file, state)("directory@localhost") == PUBLIC


def test_keys_that_cannot_be_read_any_more_are_those_that_were(write_file, caplog):
    file = load(write_file(agents=SIGNED))
    state = StateFolder(file.society.state)
    state.prepare()
    known, made = KnownKeys(file, state), state.keys(["directory"])
    assert known("directory@localhost") == made["directory"].public
    (file.society.state / "keys.json").write_text("{")
    with caplog.at_level(logging.WARNING, "locution"):
        assert known("directory@localhost") == made["directory"].public
    assert "is no JSON object of names and keys" in caplog.text


def test_the_operator_signs_where_everybody_does(write_file):
    file = load(write_file(agents=SIGNED))
    state = StateFolder(file.society.state)
    state.prepare()
    ports = operator_ports(file, state)
    assert ports.key is not None
    assert KnownKeys(file, state)("operator@localhost") == ports.key.public
    assert ports.policy is not None
    assert ports.policy.require_signature


def test_where_nobody_signs_no_keys_are_made(write_file):
    file = load(write_file())
    state = StateFolder(file.society.state)
    state.prepare()
    assert signing_keys(file, state, "directory") == {}
    assert operator_ports(file, state).key is None
    assert not (file.society.state / "keys.json").exists()


STRICT = AGENTS + "[authority]\nrequire_signature = true\n"


def test_the_operator_waits_as_long_as_the_agents(write_file):
    file = load(write_file(agents=AGENTS + "[delivery]\naway = 7.0\nretries = 3\n"))
    state = StateFolder(file.society.state)
    state.prepare()
    journal = operator_ports(file, state).journal
    assert (journal.policy.away, journal.policy.retrying.attempts) == (7.0, 3)
    assert not journal.survives


async def test_a_society_that_signs_everything_does_its_work(write_file, start):
    file = load(write_file(agents=STRICT))
    await start(file)
    tell = lambda _event, **_fields: None  # noqa: E731 - nobody listens
    async with operator(file) as agent:
        assert (await coordinators(agent, file, tell))[0] == "coordinator@localhost"
        (entry,) = await search(agent, file)  # type: ignore[misc]
    assert entry.key == StateFolder(file.society.state).public_keys()["coordinator"]
    asked = AclMessage(
        performative=Performative.REQUEST,
        receiver=(AgentIdentifier(name="directory@localhost"),),
        content='{"search": {}}',
        protocol="fipa-request",
        conversation_id="c1",
    )
    async with aclosing(instrument.say(file, asked, 10.0)) as replies:
        reply = await anext(replies)
    assert reply.performative is Performative.INFORM
    assert is_signed(reply)
    # As it would be without a key: what is said to be signed is sent as it is.
    parameters = {"user_parameters": {SIGNATURE: "", SIGNED_AT: ""}, "conversation_id": "c2"}
    unsigned = asked.model_copy(update=parameters)
    async with aclosing(instrument.say(file, unsigned, 10.0)) as replies:
        reply = await anext(replies)
    assert reply.performative is Performative.REFUSE
    assert "operator@localhost has to sign what it says to directory" in (reply.content or "")


async def test_only_the_agents_of_the_file_may_enter_the_directory(write_file, start):
    """As the README has it: strangers may have accounts, and search."""
    rules = """
[[authority.rule]]
who = ["@society"]

[[authority.rule]]
who = ["*@localhost"]
receivers = ["directory"]
actions = ["search"]
"""
    file = load(write_file(agents=AGENTS + rules, xmpp="registration = true"))
    await start(file)
    server = replace(server_address(file, StateFolder(file.society.state)), auto_register=True)
    mallory = LocutionAgent("mallory@localhost", "secret", server)
    await mallory.start()
    try:
        service = ServiceDescription(type="coordination")
        entry = DfAgentDescription(name=mallory.me, services=(service,))
        outcome = await mallory.request("directory@localhost", Register(description=entry))
        assert isinstance(outcome, Refused)
        assert outcome.reason.cause == "unauthorised"
        assert isinstance(await mallory.request("coordinator@localhost", Search()), Refused)
        assert isinstance(await mallory.request("directory@localhost", Search()), Succeeded)
    finally:
        await mallory.stop()


async def test_a_rule_that_can_never_match_is_told_of_at_the_start(write_file, start, caplog):
    rules = '[[authority.rule]]\nwho = ["@society"]\nreceivers = ["directry"]\n'
    with caplog.at_level(logging.WARNING, "locution"):
        await start(load(write_file(agents=AGENTS + rules)), SERVER, "directory")
    assert "rule 1 of [authority] can never match for 'directry'" in caplog.text
