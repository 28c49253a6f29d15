"""Content of other versions of an ontology, and the types that JSON would let slip."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Literal

import pytest
from pydantic import Field

from behaviours.understanding import ontology_for
from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from ontology.content import AgentAction, Concept, Ontology, Predicate, Term, read_label
from ontology.errors import Cause, ContentError
from ontology.models import DatasetRef
from ontology.tasks import LEARNING, Predictions, Train


class Stop(Concept):
    """Where a bus stops."""

    name: str
    served: bool = True
    owner: AgentIdentifier | None = None


class Ride(AgentAction):
    """Take me from one stop to others."""

    origin: Stop
    via: tuple[Stop, ...] = ()
    named: dict[str, Stop] = Field(default_factory=dict)
    fare: float = 1.5
    seats: int = 1
    when: datetime | None = None
    window: Literal["left", "right"] | None = None


BUS = Ontology(name="bus", version=(1, 2), terms=(Ride, Stop))
COACH = Ontology(name="bus", version=(2, 0), terms=(Ride,))

NEW_FIELDS = {
    "outside": {"ride": {"origin": {"name": "A"}, "pets": 2}},
    "nested": {"ride": {"origin": {"name": "A", "shelter": True}}},
    "in an array": {"ride": {"origin": {"name": "A"}, "via": [{"name": "B"}, {"name": "C", "shelter": 1}]}},
    "in a map": {"ride": {"origin": {"name": "A"}, "named": {"x": {"name": "B", "shelter": None}}}},
    "in an agent's name": {"ride": {"origin": {"name": "A", "owner": {"name": "ann@here", "age": 5}}}},
}


def request(content: object, label: str | None) -> AclMessage:
    return AclMessage(performative=Performative.REQUEST, content=json.dumps(content), ontology=label)


def read(content: object, label: str | None, *ontologies: Ontology) -> Term:
    message = request(content, label)
    return ontology_for(message, ontologies or (BUS,)).parse(message.content)


def fault(content: object, label: str | None, *ontologies: Ontology) -> ContentError:
    with pytest.raises(ContentError) as caught:
        read(content, label, *ontologies)
    assert caught.value.text.isprintable()
    return caught.value


class TestMinor:
    @pytest.mark.parametrize("content", NEW_FIELDS.values(), ids=NEW_FIELDS)
    @pytest.mark.parametrize("label", ["bus/1.3", "bus/1.10", "bus/1.999999"])
    def test_new_fields_of_a_newer_one_are_left_out(self, content, label):
        ride = read(content, label)
        assert isinstance(ride, Ride)
        assert ride.origin.name == "A"
        assert "pets" not in BUS.render(ride)
        assert "shelter" not in BUS.render(ride)
        assert BUS.parse(json.dumps(content), label) == ride

    @pytest.mark.parametrize("content", NEW_FIELDS.values(), ids=NEW_FIELDS)
    @pytest.mark.parametrize("label", ["bus/1.2", "bus/1.0", "bus/1", "bus", None])
    def test_under_our_own_or_an_older_one_they_are_an_error(self, content, label):
        assert fault(content, label).cause is Cause.UNEXPECTED_ARGUMENT

    def test_a_new_term_of_a_newer_one_is_unsupported_and_both_versions_are_named(self):
        error = fault({"board": {}}, "bus/1.3")
        assert error.cause is Cause.UNSUPPORTED_ACT
        assert error.about == "board"
        assert error.text == "of ontology bus/1.3, bus/1.2 is spoken here; it has no term 'board'"
        assert "bus/1.3" not in fault({"board": {}}, "bus/1.2").text

    def test_what_is_required_and_what_is_wrong_stays_an_error(self):
        assert fault({"ride": {}}, "bus/1.3").text == "ride.origin is missing"
        assert fault({"ride": {"origin": {"name": 5}}}, "bus/1.3").cause is Cause.UNSUPPORTED_VALUE
        told = fault({"ride": {"origin": {"name": "A"}, "window": "roof"}}, "bus/1.3").text
        assert told == "ride.window: input should be 'left' or 'right', not 'roof'"

    def test_a_newer_one_is_read_with_the_same_terms_and_answered_with_our_own_label(self):
        newer = BUS.under("bus/1.7")
        assert (newer.newer, newer.label, newer.by_tag) == ("bus/1.7", "bus/1.2", BUS.by_tag)
        assert newer == BUS
        assert BUS.newer is None
        assert newer.render(Stop(name="A")) == BUS.render(Stop(name="A"))
        for label in ("bus", "bus/1", "bus/1.0", "bus/1.2"):
            assert BUS.under(label) is BUS


class TestMajor:
    def test_a_newer_one_is_not_understood_and_told_what_is(self):
        error = fault({"ride": {}}, "bus/2.0")
        assert error.performative is Performative.NOT_UNDERSTOOD
        assert error.cause is Cause.UNSUPPORTED_VALUE
        assert error.text == "ontology 'bus/2.0' is not spoken here in this version, but in bus/1.2"
        with pytest.raises(ContentError, match=r"not spoken here in this version, but in bus/1\.2"):
            BUS.parse("{}", "bus/2.0")

    def test_every_version_that_is_spoken_is_told(self):
        assert "but in bus/1.2, bus/2.0" in fault({}, "bus/3", BUS, LEARNING, COACH).text
        assert "but in bus/1.2, bus/2.0" in fault({}, "bus/0.9", BUS, LEARNING, COACH).text

    def test_an_agent_may_speak_two(self):
        content = {"ride": {"origin": {"name": "A"}, "pets": 2}}
        assert isinstance(read(content, "bus/1.3", BUS, COACH), Ride)
        assert fault(content, "bus/2.0", BUS, COACH).cause is Cause.UNEXPECTED_ARGUMENT
        assert isinstance(read(content, "bus/2.1", BUS, COACH), Ride)

    def test_another_ontology(self):
        assert fault({}, "tram/1.0").text == "ontology 'tram/1.0' is not spoken here; bus/1.2 are"
        with pytest.raises(ContentError, match=r"'tram/1\.0' is not spoken here"):
            BUS.parse("{}", "tram/1.0")


class TestLabels:
    @pytest.mark.parametrize(
        ("label", "read"),
        [
            ("bus", ("bus", None)),
            ("", ("", None)),
            ("bus/1", ("bus", (1, None))),
            ("bus/1.2", ("bus", (1, 2))),
            ("bus/10.20", ("bus", (10, 20))),
        ],
    )
    def test_they_are_taken_apart(self, label, read):
        assert read_label(label) == read

    @pytest.mark.parametrize(
        "version",
        ["abc", "", "1.", ".1", "1.2.3", "-1", "1.x", "v1", "1 ", "1.2\n", "\u0661", "1e3", "9" * 5000, "/1"],
    )
    def test_what_is_no_version_is_said(self, version):
        error = fault({"ride": {}}, f"bus/{version}"[:1024])
        assert error.cause is Cause.UNSUPPORTED_VALUE
        assert error.about == "ontology"
        assert "is no version; write bus/1.0" in error.text
        assert len(error.text) < 300
        assert not BUS.speaks(f"bus/{version}")
        with pytest.raises(ContentError, match="is no version"):
            BUS.parse("{}", f"bus/{version}")


TRAIN: dict[str, Any] = {"dataset": {"uri": "digits.csv", "sha256": "a" * 64}, "target": "digit"}


class OldTrain(AgentAction):
    """`Train`, as it was in 1.0."""

    tag = "train"
    dataset: DatasetRef
    target: str
    epochs: int = 40
    learning_rate: float = 0.003


class OldPredict(AgentAction):
    """`Predict`, as it was in 1.0."""

    tag = "predict"
    model: str
    rows: tuple[tuple[float, ...], ...]


class OldProposed(Predicate):
    """`Proposed`, as it was in 1.0."""

    tag = "proposed"
    task: str
    learner: str
    declined: str | None = None


OLD = Ontology(name=LEARNING.name, version=(1, 0), terms=(OldTrain, OldPredict, OldProposed))
"""What a peer speaks that knows nothing of what 1.1 has added."""

ADDED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "train": ({**TRAIN, "epochs": 3}, {"drop": ["id"]}),
    "predict": ({"model": "m", "rows": [[1.0, 2.0]]}, {"columns": ["a", "b"]}),
    "proposed": ({"task": "t", "learner": "l"}, {"silent": "it was not in time"}),
}
"""By the tag of a term what stands in it in 1.0, and what 1.1 has added."""


class TestLearning:
    @pytest.mark.parametrize("tag", ADDED)
    def test_a_peer_that_speaks_1_0_understands_us_without_what_is_new(self, tag):
        old, new = ADDED[tag]
        content = LEARNING.render(LEARNING.parse(json.dumps({tag: {**old, **new}})))
        (field,) = new
        assert field in json.loads(content)[tag]
        term = read(json.loads(content), LEARNING.label, OLD)
        assert type(term) is OLD.by_tag[tag]
        assert old.items() <= term.model_dump(mode="json").items()
        # That is what the new label is for: under the old one the same would be an error.
        assert fault(json.loads(content), OLD.label, OLD).cause is Cause.UNEXPECTED_ARGUMENT

    @pytest.mark.parametrize("tag", ADDED)
    @pytest.mark.parametrize("label", [OLD.label, None])
    def test_we_understand_a_peer_that_speaks_1_0(self, tag, label):
        old, new = ADDED[tag]
        term = read({tag: old}, label, LEARNING)
        assert type(term) is LEARNING.by_tag[tag]
        assert old.items() <= term.model_dump(mode="json").items()
        assert [getattr(term, field) or None for field in new] == [None]


class TestStrictTypes:
    @pytest.mark.parametrize(
        ("field", "value", "told"),
        [
            ("epochs", True, "train.epochs: input should be a valid integer, not True"),
            ("epochs", "5", "train.epochs: input should be a valid integer, not '5'"),
            ("epochs", 5.0, "train.epochs: input should be a valid integer, not 5.0"),
            ("learning_rate", "0.1", "train.learning_rate: input should be a valid number, not '0.1'"),
            ("learning_rate", True, "train.learning_rate: input should be a valid number, not True"),
            ("notify", "yes", "train.notify: input should be a valid boolean, not 'yes'"),
            ("notify", 1, "train.notify: input should be a valid boolean, not 1"),
            ("target", 5, "train.target: input should be a valid string, not 5"),
        ],
    )
    @pytest.mark.parametrize("label", [None, "locution-learning/1.9"])
    def test_what_json_would_let_slip(self, field, value, told, label):
        content = json.dumps({"train": {**TRAIN, field: value}})
        with pytest.raises(ContentError) as caught:
            LEARNING.parse(content, label)
        assert caught.value.text == told

    def test_a_whole_number_is_a_number(self):
        term = LEARNING.parse(json.dumps({"train": {**TRAIN, "learning_rate": 1}}))
        assert isinstance(term, Train)
        assert term.learning_rate == 1.0
        rows = {"predict": {"model": "m", "rows": [[1, 2.5], [0]]}}
        assert LEARNING.parse(json.dumps(rows)).model_dump()["rows"] == ((1.0, 2.5), (0.0,))

    def test_values_of_several_types_keep_theirs(self):
        content = {"predictions": {"model": "m", "values": ["5", 5, 5.0, "x"]}}
        term = LEARNING.parse(json.dumps(content))
        assert isinstance(term, Predictions)
        assert [repr(value) for value in term.values] == ["'5'", "5", "5.0", "'x'"]

    def test_what_json_has_no_type_for_is_text(self):
        ride = read({"ride": {"origin": {"name": "A"}, "when": "2026-11-20T12:00:00Z"}}, None)
        assert isinstance(ride, Ride)
        assert ride.when == datetime(2026, 11, 20, 12, tzinfo=UTC)

    def test_python_stays_convenient(self):
        ride = Ride(origin={"name": "A"}, via=[Stop(name="B")], fare="2", seats="3")  # type: ignore[arg-type]
        assert (ride.fare, ride.seats, ride.via) == (2.0, 3, (Stop(name="B"),))

    @pytest.mark.parametrize("depth", [150, 190, 200, 210, 500, 900, 950])
    def test_depth_is_refused_in_a_sentence(self, depth):
        content = '{"ride":{"origin":' + '{"name":' * depth + "1" + "}" * depth + "}}"
        for label in (None, "bus/1.9"):
            with pytest.raises(ContentError) as caught:
                BUS.parse(content, label)
            assert caught.value.cause in {Cause.UNSUPPORTED_VALUE, Cause.UNRECOGNISED_VALUE}
            assert "json_invalid" not in caught.value.text
