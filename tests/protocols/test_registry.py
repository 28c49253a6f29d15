"""Laws over every table of the registry, and that each of them can be broken."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from ontology.acl import Performative
from protocols.registry import PROTOCOLS
from protocols.table import PARTIES, Protocol, Role
from tests.protocols.laws import cells, grid_faults, reference_faults, structural_faults
from tests.protocols.reference import REFERENCES

EACH = pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)

I, P = Role.INITIATOR, Role.PARTICIPANT  # noqa: E741 - the specification's letters


def test_every_protocol_has_a_reference():
    assert set(PROTOCOLS) == set(REFERENCES)


def test_the_registry_goes_by_the_protocols_own_names():
    assert all(name == protocol.name for name, protocol in PROTOCOLS.items())


@EACH
def test_the_table_is_sound(protocol):
    assert structural_faults(protocol) == []


@EACH
def test_the_table_is_the_specifications(protocol):
    assert reference_faults(protocol, REFERENCES[protocol.name]) == []


@EACH
@pytest.mark.parametrize("role", PARTIES)
def test_the_engine_runs_the_table_whichever_role_we_play(protocol, role):
    assert grid_faults(protocol, REFERENCES[protocol.name], role) == []


@pytest.mark.parametrize("role", PARTIES)
def test_the_grid_leaves_out_no_cell(role):
    # state x last speaker x speaker x act x kind of content
    assert len(list(cells(PROTOCOLS["fipa-request"], role, {"S0", "S1"}))) == 2 * 2 * 2 * 22 * 2


@EACH
def test_it_opens_with_the_acts_that_leave_the_start(protocol):
    opening = {act for state, _role, act in protocol.transitions if state == protocol.start}
    assert {act.value for act in Performative if protocol.opens_with(act)} == opening


def mutants(protocol: Protocol) -> Iterator[tuple[str, Protocol]]:
    """Every table that differs from this one in one step."""
    for key, following in protocol.transitions.items():
        state, role, act = key
        others = {each: end for each, end in protocol.transitions.items() if each != key}
        name = f"{state} {role} {act}"
        yield f"{name} left out", replace(protocol, transitions=others)
        yield (
            f"{name} by the other",
            replace(protocol, transitions={**others, (state, role.other, act): following}),
        )
        yield (
            f"{name} as confirm",
            replace(protocol, transitions={**others, (state, role, "confirm"): following}),
        )
        for end in sorted(protocol.states - {following}):
            yield f"{name} to {end}", replace(protocol, transitions={**others, key: end})
    for state in sorted(protocol.terminal):
        yield f"{state} not over", replace(protocol, terminal=protocol.terminal - {state})


MUTANTS = {f"{name}: {what}": each for name in PROTOCOLS for what, each in mutants(PROTOCOLS[name])}


def test_every_table_that_differs_in_one_step_is_found():
    unseen = [name for name, each in MUTANTS.items() if not reference_faults(each, REFERENCES[each.name])]
    assert len(MUTANTS) > 100
    assert unseen == []


@pytest.mark.parametrize(
    "name",
    [
        "fipa-request: S1 participant agree left out",
        "fipa-request: S2 participant inform to S1",
        "fipa-request: S0 initiator request by the other",
        "fipa-contract-net: C1 participant propose to C3",
        "fipa-contract-net: C2 initiator reject-proposal as confirm",
        "fipa-contract-net: LATE initiator reject-proposal left out",
        "fipa-contract-net: EXPIRED not over",
    ],
)
def test_the_grid_finds_a_table_that_differs(name):
    mutant = MUTANTS[name]
    for role in PARTIES:
        assert grid_faults(mutant, REFERENCES[mutant.name], role) != []


BASE = PROTOCOLS["fipa-request"]


@pytest.mark.parametrize(
    ("law", "changes"),
    [
        ("none of the 22 acts", {"transitions": {**BASE.transitions, ("S2", P, "inform-done"): "DONE"}}),
        ("none of the 22 acts", {"transitions": {**BASE.transitions, ("S2", P, "inform/"): "DONE"}}),
        ("opened by", {"transitions": {**BASE.transitions, ("S0", P, "propose"): "S1"}}),
        ("opened by", {"transitions": {}}),
        ("over before it starts", {"terminal": BASE.terminal | {"S0"}}),
        ("is hidden by", {"transitions": {**BASE.transitions, ("S2", P, "inform/done"): "FAILED"}}),
        ("S9 is never reached", {"transitions": {**BASE.transitions, ("S9", P, "inform"): "DONE"}}),
        ("SOLD is never reached", {"terminal": BASE.terminal | {"SOLD"}}),
        ("S9 never ends", {"transitions": {**BASE.transitions, ("S2", P, "confirm"): "S9"}}),
        ("S9 never ends", {"deadlines": {"S2": "S9"}}),
        ("DONE is over and goes on", {"transitions": {**BASE.transitions, ("DONE", P, "inform"): "DONE"}}),
        ("is the engine's own", {"transitions": {**BASE.transitions, ("S2", I, "cancel"): "CANCELLING"}}),
    ],
)
def test_each_law_can_be_broken(law, changes):
    assert any(law in fault for fault in structural_faults(replace(BASE, **changes)))
