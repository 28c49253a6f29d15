"""Content under an ontology: every term comes back as it was said, and nothing else is let in."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ontology.acl import AclMessage, Performative
from ontology.codecs import FORMATS, read
from ontology.content import (
    CONTENT_LIMIT,
    AgentAction,
    Concept,
    Done,
    Ontology,
    Predicate,
    Reason,
    Term,
    explain,
    read_json,
    split,
)
from ontology.errors import Cause, ContentError, MessageError, OntologyError, shown
from ontology.management import MANAGEMENT
from ontology.models import DatasetRef
from ontology.tasks import LEARNING, Bid, Train
from tests.ontology.strategies import EXAMPLES, FEW, TERMS, json_values

ONTOLOGIES = {ontology.name: ontology for ontology in (LEARNING, MANAGEMENT)}
NAMED = [(ontology, tag) for ontology in ONTOLOGIES.values() for tag in ontology.by_tag]
EACH_TERM = pytest.mark.parametrize(
    ("ontology", "tag"), NAMED, ids=[f"{ontology.name}-{tag}" for ontology, tag in NAMED]
)

DATASET = {"uri": "file:digits.csv", "sha256": "a" * 64}
TRAIN = {"dataset": DATASET, "target": "digit"}


def clear(error: OntologyError) -> OntologyError:
    """See that an error is one sentence that can be sent, printed and read."""
    assert error.text.isprintable()
    assert 10 < len(error.text) < 500
    assert error.text == str(error)
    for word in ("Traceback", "pydantic", "Value error", "sys."):
        assert word not in error.text
    if error.about is not None:
        assert error.about.isprintable()
        assert len(error.about) < 300
    assert isinstance(error.cause, Cause)
    return error


def fault(content: str | None, ontology: Ontology = LEARNING) -> ContentError:
    with pytest.raises(ContentError) as caught:
        ontology.parse(content)
    clear(caught.value)
    return caught.value


class TestRoundTrip:
    def test_there_is_a_strategy_for_every_term(self):
        assert {term for ontology in ONTOLOGIES.values() for term in ontology.by_tag.values()} == set(TERMS)

    @EACH_TERM
    def test_every_term_comes_back(self, ontology, tag):
        @FEW
        @given(TERMS[ontology.by_tag[tag]])
        def comes_back(term):
            content = ontology.render(term)
            again = ontology.parse(content)
            assert again == term
            assert type(again) is type(term)
            assert split(content)[0] == tag
            assert ontology.render(again) == content

        comes_back()

    def test_every_term_is_frozen_and_closed(self):
        for ontology, tag in NAMED:
            term = ontology.by_tag[tag]
            assert term.model_config["frozen"], tag
            assert term.model_config["extra"] == "forbid", tag
            assert issubclass(term, Concept | Predicate | AgentAction), tag
            assert term.__doc__, tag

    @pytest.mark.parametrize("ontology", ONTOLOGIES.values(), ids=ONTOLOGIES)
    def test_every_term_has_a_schema(self, ontology):
        schemas = ontology.json_schema()
        assert schemas.keys() == ontology.by_tag.keys()
        for tag, schema in schemas.items():
            assert json.loads(json.dumps(schema)) == schema, tag
            assert schema["additionalProperties"] is False, tag

    def test_a_reason_may_be_explained_without_an_ontology(self):
        content = explain(Cause.LATE, "too late", "x")
        for ontology in ONTOLOGIES.values():
            assert ontology.parse(content) == Reason(cause="late", text="too late", about="x")

    def test_when_to_ask_again_is_told_in_seconds_or_not_at_all(self):
        content = explain(Cause.OVERLOADED, "later", retry_after=5)
        assert content == '{"reason":{"cause":"overloaded","text":"later","retry_after":5.0}}'
        assert LEARNING.parse(content) == Reason(cause="overloaded", text="later", retry_after=5.0)
        told = LEARNING.parse('{"reason":{"cause":"overloaded","text":"later"}}')
        assert isinstance(told, Reason)
        assert told.retry_after is None
        for wrong in ('"soon"', "-1", "true"):
            with pytest.raises(ContentError, match=r"reason\.retry_after"):
                LEARNING.parse(f'{{"reason":{{"cause":"overloaded","text":"later","retry_after":{wrong}}}}}')

    @pytest.mark.parametrize("form", FORMATS)
    @pytest.mark.parametrize("seconds", [None, 2.5])
    def test_when_to_ask_again_survives_every_written_form(self, form, seconds):
        content = explain(Cause.OVERLOADED, "later", retry_after=seconds)
        said = AclMessage(performative=Performative.REFUSE, content=content, ontology=LEARNING.label)
        again = read(FORMATS[form].write(said))
        assert LEARNING.parse(again.content, again.ontology).retry_after == seconds

    def test_absent_fields_are_left_out(self):
        assert LEARNING.render(Reason(cause=Cause.LATE, text="too late")) == (
            '{"reason":{"cause":"late","text":"too late"}}'
        )
        assert MANAGEMENT.render(Done()) == '{"done":{}}'


class TestOntology:
    def test_tags_are_class_names_in_kebab_case(self):
        assert {"award-lost", "dataset-ref", "train", "done", "reason"} <= set(LEARNING.by_tag)
        assert {"df-agent-description", "register", "done", "reason"} <= set(MANAGEMENT.by_tag)

    def test_a_class_may_set_its_own_tag_and_does_not_hand_it_down(self):
        class Weather(Predicate):
            tag = "wetter"

        class WeatherReport2Day(Weather):
            pass

        assert (Weather.tag, WeatherReport2Day.tag) == ("wetter", "weather-report2-day")

    def test_two_terms_of_one_name(self):
        class Other(Predicate):
            tag = "train"

        with pytest.raises(ValueError, match="two terms are called 'train'"):
            Ontology(name="x", version=(1, 0), terms=(Train, Other))
        assert Ontology(name="x", version=(1, 0), terms=(Train, Train)).by_tag["train"] is Train

    def test_a_foreign_term_is_not_rendered(self):
        with pytest.raises(
            ValueError, match=r"ServiceDescription is no term of the ontology locution-learning/1.2"
        ):
            LEARNING.render(MANAGEMENT.by_tag["service-description"]())

        class Train2(Train):
            tag = "train"

        with pytest.raises(ValueError, match="Train2 is no term"):
            LEARNING.render(Train2(**TRAIN))

    def test_it_does_not_change(self):
        with pytest.raises(TypeError):
            LEARNING.by_tag["train"] = Done

    @pytest.mark.parametrize(
        ("label", "is_ours"),
        [
            ("locution-learning/1.0", True),
            ("locution-learning/1.2", True),
            ("locution-learning/1.7", True),  # a newer minor version is understood
            ("locution-learning/1", True),
            ("locution-learning", True),
            ("locution-learning/2.0", False),
            ("locution-learning/0.9", False),
            ("locution-learning/10.0", False),
            ("locution-learning/x", False),
            ("Locution-Learning/1.0", False),
            ("fipa-agent-management/1.0", False),
            ("", False),
            ("/1.0", False),
        ],
    )
    def test_speaks(self, label, is_ours):
        assert LEARNING.speaks(label) is is_ours

    def test_it_speaks_its_own_label(self):
        assert LEARNING.label == "locution-learning/1.2"
        assert all(ontology.speaks(ontology.label) for ontology in ONTOLOGIES.values())


def train(**changes: object) -> str:
    return json.dumps({"train": {**TRAIN, **changes}})


def nested(depth: int) -> str:
    return '{"train":' + "[" * depth + "]" * depth + "}"


BAD = {
    "none": (None, Cause.MISSING_ARGUMENT, "the content is empty"),
    "empty": ("", Cause.MISSING_ARGUMENT, "the content is empty"),
    "blank": (" \n\t", Cause.MISSING_ARGUMENT, "the content is empty"),
    "5 MB": ("x" * 5_000_000, Cause.UNSUPPORTED_VALUE, "the content has 5,000,000 characters"),
    "5 MB of train": (train(target="x" * 5_000_000), Cause.UNSUPPORTED_VALUE, "send a reference"),
    "words": ("please train", Cause.UNRECOGNISED_VALUE, "not JSON: Expecting value at line 1, column 1"),
    "SL": ("((action ann (train)))", Cause.UNRECOGNISED_VALUE, "not JSON"),
    "cut off": ('{"train": {', Cause.UNRECOGNISED_VALUE, "not JSON: Expecting property name"),
    "two documents": (
        '{"done":{}} {"done":{}}',
        Cause.UNRECOGNISED_VALUE,
        "not JSON: Extra data at line 1, column 13",
    ),
    "byte order mark": ('\ufeff{"done":{}}', Cause.UNRECOGNISED_VALUE, "not JSON"),
    "NaN": (train(learning_rate=float("nan")), Cause.UNRECOGNISED_VALUE, "NaN is no JSON number"),
    "Infinity": (train(learning_rate=float("inf")), Cause.UNRECOGNISED_VALUE, "Infinity is no JSON number"),
    "-Infinity": ('{"train":-Infinity}', Cause.UNRECOGNISED_VALUE, "-Infinity is no JSON number"),
    "too long an integer": (
        '{"train":{"epochs":' + "9" * 5000 + "}}",
        Cause.UNRECOGNISED_VALUE,
        "Exceeds the limit (4300 digits)",
    ),
    "half a character": (
        '{"reason":{"cause":"x","text":"\\ud83d"}}',
        Cause.UNRECOGNISED_VALUE,
        "half of a surrogate pair",
    ),
    "half a character, bare": ('{"done":{"\ud800":1}}', Cause.UNRECOGNISED_VALUE, "half of a surrogate pair"),
    "deep": (nested(100_000), Cause.UNRECOGNISED_VALUE, "nested too deeply"),
    "array": ("[]", Cause.UNRECOGNISED_VALUE, "a JSON object with one key"),
    "string": ('"train"', Cause.UNRECOGNISED_VALUE, "a JSON object with one key"),
    "number": ("5", Cause.UNRECOGNISED_VALUE, "a JSON object with one key"),
    "null": ("null", Cause.UNRECOGNISED_VALUE, "a JSON object with one key"),
    "no key": ("{}", Cause.UNRECOGNISED_VALUE, "a JSON object with one key"),
    "two keys": ('{"done":{},"train":{}}', Cause.UNRECOGNISED_VALUE, "a JSON object with one key"),
    "arguments in an array": (
        '{"train":[1,2]}',
        Cause.UNRECOGNISED_VALUE,
        "train: the arguments are a JSON object, not [1, 2]",
    ),
    "no arguments": ('{"train":null}', Cause.UNRECOGNISED_VALUE, "are a JSON object, not null"),
    "a tag of two lines": ('{"a\\nb":1}', Cause.UNRECOGNISED_VALUE, "a\\nb: the arguments"),
    "a huge tag": ('{"' + "x" * 900_000 + '":1}', Cause.UNRECOGNISED_VALUE, "x...: the arguments"),
    "unknown term": (
        '{"teach":{}}',
        Cause.UNSUPPORTED_ACT,
        "has no term 'teach'; it has award-lost, awarded",
    ),
    "a huge unknown term": (
        '{"' + "x" * 900_000 + '":{}}',
        Cause.UNSUPPORTED_ACT,
        "x...'; it has award-lost",
    ),
    "wrong case": (json.dumps({"Train": TRAIN}), Cause.UNSUPPORTED_ACT, "has no term 'Train'"),
    "another ontology's term": ('{"deregister":{}}', Cause.UNSUPPORTED_ACT, "has no term 'deregister'"),
    "missing": ('{"train":{"target":"digit"}}', Cause.MISSING_ARGUMENT, "train.dataset is missing"),
    "missing inside": (
        train(dataset={"uri": "x"}),
        Cause.MISSING_ARGUMENT,
        "train.dataset.sha256 is missing",
    ),
    "extra": (train(colour="red"), Cause.UNEXPECTED_ARGUMENT, "train.colour is no argument of train"),
    "extra inside": (
        train(dataset={**DATASET, "rows": 5}),
        Cause.UNEXPECTED_ARGUMENT,
        "train.dataset.rows is no argument",
    ),
    "a huge extra": (train(**{"x" * 900_000: 1}), Cause.UNEXPECTED_ARGUMENT, "x... is no argument"),
    "an extra of two lines": (train(**{"a\nb": 1}), Cause.UNEXPECTED_ARGUMENT, "train.a\\nb is no argument"),
    "wrong type": (
        train(epochs="many"),
        Cause.UNSUPPORTED_VALUE,
        "train.epochs: input should be a valid integer",
    ),
    "object for text": (
        train(target={}),
        Cause.UNSUPPORTED_VALUE,
        "train.target: input should be a valid string, not {}",
    ),
    "null for a number": (train(epochs=None), Cause.UNSUPPORTED_VALUE, "train.epochs: "),
    "fraction for a count": (train(epochs=1.5), Cause.UNSUPPORTED_VALUE, "train.epochs: "),
    "negative": (
        train(epochs=-1),
        Cause.UNSUPPORTED_VALUE,
        "train.epochs: input should be greater than or equal to 1, not -1",
    ),
    "nothing": (train(epochs=0), Cause.UNSUPPORTED_VALUE, "greater than or equal to 1, not 0"),
    "too many": (train(epochs=10**9), Cause.UNSUPPORTED_VALUE, "less than or equal to 100000"),
    "huge integer": (train(epochs=10**4000), Cause.UNSUPPORTED_VALUE, "train.epochs: "),
    "huge integer for a number": (
        train(learning_rate=10**400),
        Cause.UNSUPPORTED_VALUE,
        "train.learning_rate: ",
    ),
    "beyond a double": (
        train().replace('"digit"', '"digit","held_out":1e999'),
        Cause.UNSUPPORTED_VALUE,
        "a finite number, not inf",
    ),
    "all held out": (
        train(held_out=1),
        Cause.UNSUPPORTED_VALUE,
        "train.held_out: input should be less than 1",
    ),
    "unknown choice": (train(device="tpu"), Cause.UNSUPPORTED_VALUE, "'auto', 'cpu' or 'cuda', not 'tpu'"),
    "no digest": (
        train(dataset={"uri": "x", "sha256": "A" * 64}),
        Cause.UNSUPPORTED_VALUE,
        "train.dataset.sha256: ",
    ),
    "a path for a name": (train(model="../model"), Cause.UNSUPPORTED_VALUE, "train.model: "),
    "a long wrong value": (train(kind="x" * 900_000), Cause.UNSUPPORTED_VALUE, "x..."),
    "a deep wrong value": ('{"train":' + nested(900)[9:], Cause.UNRECOGNISED_VALUE, "train: the arguments"),
    "a wrong row": (
        '{"predict":{"model":"m","rows":[[1],["two"]]}}',
        Cause.UNSUPPORTED_VALUE,
        "predict.rows.1.0: ",
    ),
    "no rows": ('{"predict":{"model":"m","rows":[]}}', Cause.UNSUPPORTED_VALUE, "predict.rows: "),
}


class TestBadContent:
    @pytest.mark.parametrize(("content", "cause", "told"), BAD.values(), ids=BAD)
    def test_one_sentence_says_why(self, content, cause, told):
        error = fault(content)
        assert told in error.text
        assert error.cause is cause
        assert error.performative is Performative.NOT_UNDERSTOOD

    @pytest.mark.parametrize(
        ("content", "about"),
        [
            (train(epochs=0), "train.epochs"),
            ('{"teach":{}}', "teach"),
            ('{"train":{}}', "train.dataset"),
            (train(colour="red"), "train.colour"),
            ("", None),
        ],
    )
    def test_about_names_the_place(self, content, about):
        assert fault(content).about == about

    def test_any_depth(self):
        """Just below the depth that Python reads, other functions may reach their limit first."""
        too_deep = []
        for depth in (*range(900, 1000, 3), 1500, 20_000):
            for content in (
                nested(depth),
                '{"train":{"target":' + "[" * depth + "]" * depth + "}}",
                '{"train":{"target":' + '{"\\ud800":' * depth + "1" + "}" * depth + "}}",
            ):
                try:
                    fault(content)
                except RecursionError:
                    too_deep.append((depth, content[:30]))
        assert too_deep == []

    def test_the_longest_content_is_read(self):
        longest = '{"done":{}}'.ljust(CONTENT_LIMIT)
        assert LEARNING.parse(longest) == Done()
        assert fault(longest + " ").cause is Cause.UNSUPPORTED_VALUE

    def test_whole_characters_may_be_escaped(self):
        assert LEARNING.parse('{"reason":{"cause":"x","text":"\\ud83d\\ude00"}}').text == "😀"

    def test_a_message_full_of_wrong_values_is_told_by_the_first(self):
        wrong = ",".join(['"a"'] * 200_000)
        assert "predict.rows.0.0" in fault('{"predict":{"model":"m","rows":[[' + wrong + "]]}}").text
        assert "predict.rows.0" in fault('{"predict":{"model":"m","rows":[' + wrong + "]}}").text

    @EXAMPLES
    @given(st.text(st.characters()))
    def test_any_text_is_refused_in_a_sentence(self, content):
        # No text that is made by chance is content.
        fault(content)

    @EXAMPLES
    @given(json_values)
    def test_any_json_is_refused_in_a_sentence(self, value):
        fault(json.dumps(value))

    @EXAMPLES
    @given(st.sampled_from(NAMED), st.dictionaries(st.text(max_size=5), json_values, max_size=3))
    def test_any_arguments_fit_or_are_refused_in_a_sentence(self, named, arguments):
        ontology, tag = named
        content = json.dumps({tag: arguments})
        try:
            term = ontology.parse(content)
        except ContentError as error:
            clear(error)
        else:
            assert ontology.parse(ontology.render(term)) == term

    @EXAMPLES
    @given(st.data(), json_values)
    def test_one_spoilt_argument_fits_or_is_refused_in_a_sentence(self, data, value):
        term = data.draw(TERMS[Train])
        arguments = json.loads(LEARNING.render(term))["train"]
        arguments[data.draw(st.sampled_from(sorted(arguments)))] = value
        try:
            again = LEARNING.parse(json.dumps({"train": arguments}))
        except ContentError as error:
            clear(error)
        else:
            assert LEARNING.parse(LEARNING.render(again)) == again


class TestTerms:
    def test_what_we_say_ourselves_is_checked_as_well(self):
        for wrong in ({"epochs": 0}, {"learning_rate": float("nan")}, {"colour": "red"}):
            with pytest.raises(ValidationError):
                Train(dataset=DatasetRef(**DATASET), target="digit", **wrong)

    def test_a_bid_is_finite(self):
        device = {"kind": "cpu", "name": "x", "memory_bytes": 1}
        for seconds, rate in ((math.inf, 1), (1.1e9, 1), (1, math.inf), (1, 1.1e12), (math.nan, 1)):
            with pytest.raises(ValidationError):
                Bid(seconds=seconds, rows_per_second=rate, device=device)

    def test_the_label_of_a_model(self):
        @FEW
        @given(TERMS[LEARNING.by_tag["model-version"]])
        def is_name_and_version(model):
            assert model.label == f"{model.name}:{model.version}"
            LEARNING.parse(json.dumps({"predict": {"model": model.label[:100], "rows": [[1]]}}))

        is_name_and_version()

    def test_a_plain_term_has_a_tag_too(self):
        assert Term.tag == "term"


class TestErrors:
    def test_one_root(self):
        for kind in (MessageError, ContentError):
            error = kind(Cause.LATE, "a text", "about")
            assert isinstance(error, OntologyError)
            assert (error.cause, error.text, error.about, str(error)) == (
                Cause.LATE,
                "a text",
                "about",
                "a text",
            )

    def test_fipas_tokens_are_there(self):
        # FIPA00023, section 4
        assert {
            "unsupported-act", "unexpected-act", "unsupported-value", "unrecognised-value", "unauthorised",
            "unsupported-function", "missing-argument", "unexpected-argument", "unexpected-argument-count",
            "missing-parameter", "unexpected-parameter", "unrecognised-parameter-value",
            "already-registered", "not-registered", "internal-error",
        } <= set(Cause)  # fmt: skip

    @EXAMPLES
    @given(st.text(st.characters()) | json_values)
    def test_what_is_shown_is_short_and_printable(self, value):
        text = shown(value)
        assert text.isprintable()
        assert len(text) <= 600, "sixty characters, each escaped at most"

    def test_shown(self):
        assert (shown("plain"), shown("a\nb"), shown(5), shown("x" * 61)) == (
            "plain",
            "a\\nb",
            "5",
            "x" * 57 + "...",
        )


@EXAMPLES
@given(json_values)
def test_read_json_reads_what_rfc_8259_has(value):
    text = json.dumps(value)
    if any(each in text for each in ("NaN", "Infinity", "\\ud")):
        return
    assert read_json(text) == value
