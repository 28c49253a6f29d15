"""What messages are about: typed content under a named, versioned ontology.

Content is one JSON object with one key, the tag of a term, as SL would write ``(train ...)``::

    {"train": {"dataset": {"uri": "file:digits.csv", "sha256": "..."}, "target": "digit"}}

The term's class says what may stand in it. Content that does not fit raises `ContentError`, which
names the act that answers it, so that it never reaches an agent's handler.

Types are strict in content, as in JSON Schema: ``"5"`` is no number and ``1`` no boolean, while a whole
number may stand where a number may. Terms that are made in Python are converted as pydantic does.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, NoReturn

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ontology.errors import Cause, ContentError, shown

LANGUAGE = "json"
"""The content language we speak. FIPA00061 leaves the choice of content language to the agents."""

CONTENT_LIMIT = 1_000_000
"""Longest content in characters that is read; larger things travel by reference (`DatasetRef`)."""


class Term(BaseModel):
    """Anything an ontology can name. Frozen; unknown fields are refused; NaN is no number here."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, ser_json_inf_nan="strings")

    tag: ClassVar[str] = "term"
    """The name on the wire: the class name in kebab case, unless the class sets its own ``tag``."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if "tag" not in cls.__dict__:
            cls.tag = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", cls.__name__).lower()


class Concept(Term):
    """A thing with attributes: a dataset, a device, a model."""


class Predicate(Term):
    """Something that is the case: a bid, progress, a result. What inform, propose and refuse carry."""


class AgentAction(Term):
    """Something an agent can be asked to do. What request and cfp carry."""


class Reason(Predicate):
    """Why an act was refused, failed or not understood (the propositions of FIPA00023, section 4)."""

    cause: str
    """FIPA's token (`Cause`), or one of the application's own."""
    text: str
    """One sentence: what, where, how to mend it."""
    about: str | None = None
    """The act, argument or value at fault."""
    retry_after: Annotated[float, Field(ge=0)] | None = None
    """Seconds after which one may ask again; None where nobody knows, or it would be of no use."""


def explain(
    cause: Cause | str, text: str, about: str | None = None, *, retry_after: float | None = None
) -> str:
    """Write the content of a refuse, failure, reject-proposal or not-understood: a `Reason`."""
    return as_content(Reason(cause=str(cause), text=text, about=about, retry_after=retry_after))


def as_content(reason: Reason) -> str:
    """Write a reason as content."""
    return _content(reason)


_NOT_IN_XML = re.compile("[\ufffe\uffff]")


def _content(term: Term) -> str:
    """Write a term; what XML cannot carry, and JSON leaves as it is, becomes an escape."""
    text = f'{{"{term.tag}":{term.model_dump_json(exclude_none=True)}}}'
    return _NOT_IN_XML.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


class Done(Predicate):
    """The action was carried out and has no result to tell: ``done(a)`` in FIPA00026."""


@dataclass(frozen=True, kw_only=True)
class Ontology:
    """A vocabulary: the terms that two agents share, under a name and a version ``(major, minor)``.

    A newer minor version only adds terms and optional fields. So content under one is understood as far as
    it is ours: fields that we do not know are left out. Content under another major version is not.
    """

    name: str
    version: tuple[int, int]
    terms: Iterable[type[Term]]
    by_tag: Mapping[str, type[Term]] = field(init=False)
    newer: str | None = field(init=False, default=None, compare=False)
    """The ontology parameter under which content is read, where its minor version is newer than ours."""

    def __post_init__(self) -> None:
        by_tag: dict[str, type[Term]] = {}
        terms: tuple[type[Term], ...] = (Reason, Done, *self.terms)
        for term in terms:
            if by_tag.setdefault(term.tag, term) is not term:
                raise ValueError(f"ontology {self.name}: two terms are called {term.tag!r}")
        object.__setattr__(self, "by_tag", MappingProxyType(by_tag))

    @property
    def label(self) -> str:
        """What stands in a message's ontology parameter, e.g. ``locution-learning/1.0``."""
        return f"{self.name}/{self.version[0]}.{self.version[1]}"

    def speaks(self, label: str) -> bool:
        """Whether content under this ontology parameter is ours to read; a bare name means any version."""
        try:
            name, version = read_label(label)
        except ContentError:
            return False
        return name == self.name and (version is None or version[0] == self.version[0])

    def under(self, label: str) -> Ontology:
        """This ontology, as it reads content under an ontology parameter.

        Raises:
            ContentError: the parameter is malformed, or means another ontology or major version.
        """
        if not self.speaks(label):
            raise not_spoken(label, (self,))
        _name, version = read_label(label)
        if version is None or version[1] is None or version[1] <= self.version[1]:
            return self
        newer = copy.copy(self)
        object.__setattr__(newer, "newer", label)
        return newer

    def render(self, term: Term) -> str:
        """Write a term as content.

        Raises:
            ValueError: the term is not one of this ontology.
        """
        if self.by_tag.get(term.tag) is not type(term):
            raise ValueError(f"{type(term).__name__} is no term of the ontology {self.label}")
        return _content(term)

    def parse(self, content: str | None, label: str | None = None) -> Term:
        """Read content as a term of this ontology.

        Args:
            content: what the message says.
            label: its ontology parameter; without one the content is taken to be of our own version.

        Raises:
            ContentError: it does not fit; the error says why in one sentence.
        """
        if label is not None:
            return self.under(label).parse(content)
        tag, arguments = split(content)
        if tag not in self.by_tag:
            known = ", ".join(sorted(self.by_tag))
            text = f"ontology {self.label} has no term {shown(tag)!r}; it has {known}"
            if self.newer is not None:
                text = f"of ontology {self.newer}, {self.label} is spoken here; it has no term {shown(tag)!r}"
            raise ContentError(Cause.UNSUPPORTED_ACT, text, shown(tag))
        try:
            # Only JSON can be read strictly: of Python's types, no list would do for a tuple.
            return self.by_tag[tag].model_validate_json(
                json.dumps(arguments), strict=True, extra="ignore" if self.newer else None
            )
        except ValidationError as error:
            raise _first_fault(tag, error) from error
        except RecursionError as error:
            raise _too_deep() from error

    def json_schema(self) -> dict[str, Any]:
        """Describe every term as JSON Schema, by tag."""
        return {tag: term.model_json_schema() for tag, term in sorted(self.by_tag.items())}


def read_label(label: str) -> tuple[str, tuple[int, int | None] | None]:
    """Take an ontology parameter apart: ``name``, ``name/1`` or ``name/1.2``.

    Returns:
        The name, and the version with its minor part as far as they are there.

    Raises:
        ContentError: what stands behind the slash is no version.
    """
    name, slash, text = label.partition("/")
    found = _VERSION.fullmatch(text)
    if found is None:
        if slash:
            told = f"ontology {shown(label)!r}: {shown(text)!r} is no version; write {shown(name)}/1.0"
            raise ContentError(Cause.UNSUPPORTED_VALUE, told, "ontology")
        return name, None
    major, minor = found.groups()
    return name, (int(major), None if minor is None else int(minor))


_VERSION = re.compile(r"([0-9]{1,6})(?:\.([0-9]{1,6}))?")


def not_spoken(label: str, ontologies: Iterable[Ontology]) -> ContentError:
    """Say that none of these ontologies is meant by an ontology parameter.

    Raises:
        ContentError: the parameter is malformed.
    """
    name, _version = read_label(label)
    ours = [each.label for each in ontologies if each.name == name]
    if ours:
        text = f"ontology {shown(label)!r} is not spoken here in this version, but in {', '.join(ours)}"
    else:
        known = ", ".join(each.label for each in ontologies) or "none"
        text = f"ontology {shown(label)!r} is not spoken here; {known} are"
    return ContentError(Cause.UNSUPPORTED_VALUE, text, "ontology")


def split(content: str | None) -> tuple[str, dict[str, Any]]:
    """Take content apart into its tag and arguments, without asking what they mean.

    Raises:
        ContentError: it is empty, too long, no JSON, or no object with one key.
    """
    if content is None or not content.strip():
        raise ContentError(
            Cause.MISSING_ARGUMENT, 'the content is empty; write {"tag": {...}} with a term of the ontology'
        )
    if len(content) > CONTENT_LIMIT:
        raise ContentError(
            Cause.UNSUPPORTED_VALUE,
            f"the content has {len(content):,} characters, {CONTENT_LIMIT:,} are read; "
            "send a reference to larger data (uri and sha256)",
        )
    try:
        value = read_json(content)
    except ValueError as error:
        raise ContentError(Cause.UNRECOGNISED_VALUE, f"the content is {error}") from error
    if not isinstance(value, dict) or len(value) != 1:
        raise ContentError(
            Cause.UNRECOGNISED_VALUE, 'the content is a JSON object with one key, the term: {"tag": {...}}'
        )
    ((tag, arguments),) = value.items()
    if not isinstance(arguments, dict):
        raise ContentError(
            Cause.UNRECOGNISED_VALUE,
            f"{shown(tag)}: the arguments are a JSON object, not {shown(json.dumps(arguments))}",
        )
    return tag, arguments


def read_json(text: str) -> Any:
    """Read JSON of unknown origin, as RFC 8259 has it: without NaN, and with whole characters only.

    Raises:
        ValueError: it cannot be read; the text goes on from "the content is".
    """
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
        if _SURROGATE.search(text):
            # Half a character can be escaped in JSON, but neither sent nor stored nor printed.
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from error
    except UnicodeEncodeError as error:
        raise ValueError("not Unicode: it holds half of a surrogate pair") from error
    except RecursionError as error:
        raise ValueError("nested too deeply to be read") from error
    except ValueError as error:  # an integer longer than Python converts, or NaN
        raise ValueError(f"not JSON: {str(error).partition(':')[0]}") from error
    return value


_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _too_deep() -> ContentError:
    return ContentError(Cause.UNRECOGNISED_VALUE, "the content is nested too deeply to be read")


def _first_fault(tag: str, error: ValidationError) -> ContentError:
    """Turn pydantic's first complaint into one sentence with FIPA's token for it."""
    fault = error.errors(include_url=False)[0]
    where = ".".join([tag, *(shown(str(part)) for part in fault["loc"])])
    match fault["type"]:
        case "json_invalid":  # what Python has written: only its depth can be wrong
            return _too_deep()
        case "missing":
            return ContentError(Cause.MISSING_ARGUMENT, f"{where} is missing", where)
        case "extra_forbidden":
            return ContentError(Cause.UNEXPECTED_ARGUMENT, f"{where} is no argument of {tag}", where)
        case _:
            given = shown(repr(fault["input"]))
            told = fault["msg"].removeprefix("Value error, ")
            told = told[:1].lower() + told[1:]
            return ContentError(Cause.UNSUPPORTED_VALUE, f"{where}: {told}, not {given}", where)
