"""Anything that may be said, made by hypothesis: messages, identifiers, and a value of every term."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import settings
from hypothesis import strategies as st

from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from ontology.content import Done, Reason, Term
from ontology.errors import Cause
from ontology.management import (
    Deregister,
    DfAgentDescription,
    Found,
    Modify,
    Register,
    Registered,
    Replay,
    Replayed,
    Search,
    SearchConstraints,
    ServiceDescription,
)
from ontology.models import DatasetRef, DeviceDescription, ModelVersion, ResourceDescription
from ontology.tasks import (
    FASTEST_BID,
    LONGEST_BID,
    Awarded,
    AwardLost,
    Bid,
    Called,
    Evaluate,
    Evaluation,
    Predict,
    Predictions,
    Progress,
    Proposed,
    Resume,
    TakenOver,
    TaskName,
    Train,
    Trained,
)

EXAMPLES = settings(max_examples=120, derandomize=True, deadline=None, database=None)
FEW = settings(max_examples=25, derandomize=True, deadline=None, database=None)

texts = st.text(max_size=20)
filled = st.text(min_size=1, max_size=20)
numbers = st.floats(allow_nan=False, allow_infinity=False)
measures = numbers.map(abs)
positive = measures.filter(lambda number: number > 0)
counts = st.integers(0, 10**12)
several = st.lists(texts, max_size=3).map(tuple)
words = st.sampled_from(("fipa-request", "fipa-contract-net", "json", "train", "predict"))
some_words = st.lists(words, max_size=3).map(tuple)
optional_word = st.none() | words

_NAME = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
names = st.builds(str.__add__, st.sampled_from(_NAME), st.text(_NAME + "._-", max_size=20))
labels = names | st.builds("{}:{}".format, names, st.integers(1, 999))
digests = st.text("0123456789abcdef", min_size=64, max_size=64)
zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC) | zones)  # noqa: DTZ001 - the zone is drawn
kinds = st.sampled_from(("classification", "regression"))
metrics = st.dictionaries(texts, numbers, max_size=3)

jids = st.builds(
    "{}@{}".format, st.text("abc.xyz-0é", min_size=1, max_size=8), st.sampled_from(("example.org", "b.c"))
)
full_jids = jids | st.builds("{}/{}".format, jids, st.text("abc /@", min_size=1, max_size=5))
agents = full_jids.map(AgentIdentifier.of)
identifiers = st.recursive(
    st.builds(AgentIdentifier, name=jids, addresses=several),
    lambda inner: st.builds(
        AgentIdentifier, name=jids, addresses=several, resolvers=st.lists(inner, max_size=2).map(tuple)
    ),
    max_leaves=3,
)

services = st.builds(
    ServiceDescription,
    name=optional_word,
    type=optional_word,
    protocols=some_words,
    ontologies=some_words,
    languages=some_words,
    ownership=optional_word,
    properties=st.dictionaries(words, words, max_size=2),
)
descriptions = st.builds(
    DfAgentDescription,
    name=st.none() | identifiers,
    services=st.lists(services, max_size=3).map(tuple),
    protocols=some_words,
    ontologies=some_words,
    languages=some_words,
    lease_time=st.none() | positive,
    key=optional_word,
)
constraints = st.builds(
    SearchConstraints,
    max_depth=counts,
    max_results=st.none() | st.integers(1, 9),
    search_id=st.none() | texts,
)

datasets = st.builds(DatasetRef, uri=filled, sha256=digests)
devices = st.builds(DeviceDescription, kind=st.sampled_from(("cpu", "cuda")), name=texts, memory_bytes=counts)
resources = st.builds(
    ResourceDescription,
    cpus=st.integers(1, 512),
    memory_bytes=counts,
    devices=st.lists(devices, max_size=2).map(tuple),
)
versions = st.builds(
    ModelVersion,
    name=names,
    version=st.integers(1, 10**6),
    uri=texts,
    sha256=digests,
    data_sha256=digests,
    network=texts,
    kind=kinds,
    metrics=metrics,
    created=moments,
    code_version=texts,
)
bids = st.builds(
    Bid,
    seconds=measures.filter(lambda number: number <= LONGEST_BID),
    rows_per_second=positive.filter(lambda number: number <= FASTEST_BID),
    waiting=counts,
    device=devices,
    begun=st.none() | st.booleans(),
)
tasks = st.builds(TaskName, id=filled, client=filled)
rows = st.lists(st.lists(numbers, max_size=3).map(tuple), min_size=1, max_size=3).map(tuple)

TERMS: dict[type[Term], st.SearchStrategy[Term]] = {
    Reason: st.builds(
        Reason,
        cause=st.sampled_from(Cause) | texts,
        text=texts,
        about=st.none() | texts,
        retry_after=st.none() | st.floats(0, 1e9),
    ),
    Done: st.builds(Done),
    Train: st.builds(
        Train,
        dataset=datasets,
        target=filled,
        model=names,
        kind=kinds,
        network=texts,
        epochs=st.integers(1, 100_000),
        batch_size=st.integers(1, 1_000_000),
        learning_rate=st.floats(0, 10, exclude_min=True),
        patience=st.integers(1, 10**6),
        held_out=st.floats(0, 1, exclude_min=True, exclude_max=True),
        seed=st.integers(0, 2**63 - 1),
        device=st.sampled_from(("auto", "cpu", "cuda")),
        notify=st.booleans(),
        task=st.none() | tasks,
    ),
    Predict: st.builds(Predict, model=labels, rows=rows),
    Evaluate: st.builds(Evaluate, model=labels, dataset=datasets),
    Bid: bids,
    Progress: st.builds(
        Progress, task=texts, epoch=counts, epochs=st.integers(1, 10**6), loss=numbers, score=numbers
    ),
    Called: st.builds(Called, task=texts, learners=several, attempt=st.integers(1, 9)),
    Proposed: st.builds(
        Proposed, task=texts, learner=texts, bid=st.none() | bids, declined=st.none() | texts
    ),
    Awarded: st.builds(Awarded, task=texts, learner=texts, attempt=st.integers(1, 9)),
    AwardLost: st.builds(AwardLost, task=texts, learner=texts, text=texts),
    TakenOver: st.builds(TakenOver, task=texts, leader=texts),
    TaskName: tasks,
    Resume: st.builds(Resume, task=tasks),
    Trained: st.builds(
        Trained,
        model=versions,
        learner=texts,
        seconds=measures,
        epochs=st.integers(1, 10**6),
        resources=resources,
    ),
    Predictions: st.builds(
        Predictions,
        model=texts,
        values=st.lists(numbers | texts, max_size=4).map(tuple),
        confidence=st.lists(numbers, max_size=4).map(tuple),
    ),
    Evaluation: st.builds(Evaluation, model=texts, rows=st.integers(1, 10**9), metrics=metrics),
    DatasetRef: datasets,
    ModelVersion: versions,
    DeviceDescription: devices,
    ResourceDescription: resources,
    Register: st.builds(Register, description=descriptions),
    Deregister: st.builds(Deregister, name=identifiers),
    Modify: st.builds(Modify, description=descriptions),
    Search: st.builds(Search, template=descriptions, constraints=constraints),
    Found: st.builds(Found, descriptions=st.lists(descriptions, max_size=2).map(tuple)),
    Registered: st.builds(Registered, lease_time=positive),
    Replay: st.builds(Replay, letter=filled),
    Replayed: st.builds(
        Replayed, letter=texts, done=st.sampled_from(("sent", "cancelled", "handled")), text=texts
    ),
    DfAgentDescription: descriptions,
    ServiceDescription: services,
    SearchConstraints: constraints,
}
"""A strategy for every term of both ontologies."""

awkward = st.text("\\\"'()#:;<>&]ab1é-@ \n\r\t")
"""What some written form has a meaning for."""
tokens = st.none() | filled | awkward.filter(bool)


@st.composite
def messages(draw: st.DrawFn, agents: st.SearchStrategy[AgentIdentifier] = agents) -> AclMessage:
    """Any message; times in whole milliseconds, as they are written."""
    protocol = draw(tokens)
    return AclMessage(
        performative=draw(st.sampled_from(Performative)),
        sender=draw(st.none() | agents),
        receiver=draw(st.lists(agents, max_size=3).map(tuple)),
        reply_to=draw(st.lists(agents, max_size=2).map(tuple)),
        content=draw(st.none() | st.text() | awkward),
        language=draw(tokens),
        encoding=draw(tokens),
        ontology=draw(tokens),
        protocol=protocol,
        conversation_id=draw(tokens if protocol is None else filled),
        reply_with=draw(tokens),
        in_reply_to=draw(tokens),
        reply_by=draw(
            st.none() | moments.map(lambda each: each.replace(microsecond=each.microsecond // 1000 * 1000))
        ),
        user_parameters=draw(st.dictionaries(names.map("X-{}".format), st.text() | awkward, max_size=2)),
    )


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
"""Whatever JSON can say, NaN and half characters among it."""
