"""Facts and the health of a process as metrics: the only code that knows prometheus_client.

A label's values are known beforehand, and few: what a stranger has written (a protocol's name, say) and is
none of them is counted as ``other``. No JID, conversation-id or text of anybody ever is one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from behaviours import events
from behaviours.events import (
    ConversationEnded,
    ConversationRefused,
    DuplicateDropped,
    Fact,
    LeaderDeposed,
    LeaderElected,
    MessageAcknowledged,
    MessageAskedAfter,
    MessageDisbelieved,
    MessageReceived,
    MessageSent,
    MessageUndelivered,
    OutOfSequence,
    RowsTrained,
    TrainingEnded,
)
from ontology.acl import Performative
from protocols.registry import PROTOCOLS, TABLES
from protocols.table import META_TERMINAL, Role
from resilience.breakers import Circuit
from society.health import Health

# prometheus_client writes the time of its making beside each counter, as a series of its own.
disable_created_metrics()  # type: ignore[no-untyped-call]

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
"""Of what `Metrics.text` returns."""

OTHER, NONE = "other", "none"
"""What a label says of a value that is not known beforehand, and of none at all."""

GROUPS = 20
"""Groups with a label of their own; further ones of the same process are ``other``."""

SECONDS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0, 300.0, 3600.0)
"""Buckets of conversations and trainings: from an answer over loopback to an hour of training."""

ERRORS = (0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 2.0, 5.0)
"""Buckets of the error of a bid."""

Memory = Callable[[], Mapping[str, tuple[int, int]]]
"""Bytes in use and in all of each GPU, by its number."""

_PROTOCOLS = {"": NONE, **{name: table.name for name, table in PROTOCOLS.items()}}
_ACTS = {act.value: act.value for act in Performative}
_ROLES = {role.value: role.value for role in Role}
_OUTCOMES = {
    (table.name, state): state.lower().replace("_", "-")
    for table in TABLES
    for state in (*table.terminal, *META_TERMINAL)
}
_TYPES: Mapping[type, str] = {Counter: "counter", Gauge: "gauge", Histogram: "histogram", Info: "gauge"}
"""What a metric is to Prometheus."""
_ENDS = {end: end for end in ("trained", "failed", "cancelled")}


def _troubles() -> dict[type[Fact], str]:
    """The label of each kind of trouble: ``store-down``."""
    kinds = [each for each in vars(events).values() if isinstance(each, type) and issubclass(each, Fact)]
    return {kind: _hyphenated(kind.__name__) for kind in kinds if kind.is_trouble}


def _hyphenated(name: str) -> str:
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in name).strip("-")


class Described(NamedTuple):
    """One metric, for whoever documents or checks them."""

    name: str
    kind: str
    labels: tuple[str, ...]
    text: str


class _Children:
    """A metric's children, by the values of its labels: to look one up costs prometheus_client a lock."""

    def __init__(self, metric: Any) -> None:
        self._metric = metric
        self._known: dict[tuple[str, ...], Any] = {}

    def __getitem__(self, values: tuple[str, ...]) -> Any:
        child = self._known.get(values)
        if child is None:
            child = self._known[values] = self._metric.labels(*values)
        return child


class Metrics:
    """A `Hook` for all agents of a process, and what Prometheus scrapes of it. Used on one event loop.

    Args:
        memory: says how much memory the GPUs have that this process uses; by default there are none.
    """

    def __init__(self, memory: Memory = dict) -> None:
        self.registry = CollectorRegistry()
        self._memory = memory
        self._described: list[Described] = []
        self._add_counters()
        self._add_gauges()
        ProcessCollector(registry=self.registry)
        self._kinds = _troubles()
        self._takes: Mapping[type[Fact], Callable[[Any], None]] = {
            MessageSent: lambda fact: self._act(fact, "out", "sent"),
            MessageAcknowledged: lambda fact: self._act(fact, "out", "acknowledged"),
            MessageUndelivered: lambda fact: self._act(fact, "out", "undelivered"),
            MessageReceived: lambda fact: self._act(fact, "in", "received"),
            ConversationRefused: lambda fact: self._act(fact, "in", "refused"),
            OutOfSequence: lambda fact: self._act(fact, "in", "out-of-sequence"),
            MessageDisbelieved: lambda fact: self._act(fact, "in", "disbelieved"),
            ConversationEnded: self._conversation_ended,
            MessageAskedAfter: lambda _fact: self._retries.inc(),
            DuplicateDropped: lambda _fact: self._duplicates.inc(),
            LeaderElected: lambda fact: self._elections[self._group(fact.group), "elected"].inc(),
            LeaderDeposed: lambda fact: self._elections[self._group(fact.group), "deposed"].inc(),
            RowsTrained: lambda fact: self._rows.inc(max(0, fact.rows)),
            TrainingEnded: self._training_ended,
        }
        self._groups: dict[str, str] = {}

    def __call__(self, fact: Fact) -> None:
        """Count a fact."""
        take = self._takes.get(type(fact))
        if take is not None:
            take(fact)
        if fact.is_trouble:
            self._trouble[(self._kinds.get(type(fact), OTHER),)].inc()

    def text(self, health: Health) -> bytes:
        """Everything, as Prometheus reads it; what cannot be told just now is no number (NaN)."""
        self._show(health)
        return generate_latest(self.registry)

    def described(self) -> tuple[Described, ...]:
        """All metrics of ours; those of the process itself, which prometheus_client adds, are left out."""
        return tuple(self._described)

    # -- facts -----------------------------------------------------------------------------------

    def _act(self, fact: Any, direction: str, outcome: str) -> None:
        protocol, act = _PROTOCOLS.get(fact.protocol, OTHER), _ACTS.get(fact.performative, OTHER)
        self._acts[protocol, act, direction, outcome].inc()

    def _conversation_ended(self, fact: ConversationEnded) -> None:
        protocol = _PROTOCOLS.get(fact.protocol, OTHER)
        outcome = _OUTCOMES.get((protocol, fact.state), OTHER)
        child = self._conversations[protocol, _ROLES.get(fact.role, OTHER), outcome]
        child.observe(max(0.0, fact.seconds))  # the wall clock may have been set back meanwhile

    def _training_ended(self, fact: TrainingEnded) -> None:
        outcome = _ENDS.get(fact.outcome, OTHER)
        self._trainings[(outcome,)].observe(max(0.0, fact.seconds))
        if fact.promised is not None and fact.promised > 0 and outcome == "trained":
            self._promised.inc(fact.promised)
            self._taken.inc(max(0.0, fact.seconds))
            self._errors.observe(abs(fact.seconds - fact.promised) / fact.promised)

    def _group(self, name: str) -> str:
        if name not in self._groups and len(self._groups) >= GROUPS:
            return OTHER
        return self._groups.setdefault(name, name)

    # -- health ----------------------------------------------------------------------------------

    def _show(self, health: Health) -> None:
        unknown = float("nan")
        self._live.set(health.is_live)
        self._ready.set(health.is_ready)
        self._agents.set(health.agents)
        self._connected.set(health.connected)
        self._store_up.set(health.is_store_up)
        self._election_up.set(health.is_election_up)
        self._outgoing.set(health.outgoing)
        self._open.set(health.conversations)
        for state in (Circuit.OPEN, Circuit.HALF_OPEN):
            self._breakers.labels(state.value).set(health.breakers.get(state, 0))
        self._letters.set(unknown if health.letters is None else health.letters)
        oldest = health.oldest_letter or 0.0
        self._oldest.set(unknown if health.letters is None else oldest)
        self._leads.clear()
        self._terms.clear()
        for name, group in health.groups.items():
            label = self._group(name)
            self._leads.labels(label).set(group.is_leader)
            self._terms.labels(label).set(group.term)
        self._gpu.clear()
        for number, (used, total) in self._memory().items():
            self._gpu.labels(number, "used").set(used)
            self._gpu.labels(number, "total").set(total)

    # -- what there is ---------------------------------------------------------------------------

    def _add_counters(self) -> None:
        add = self._add
        self._acts = _Children(
            add(
                Counter,
                "locution_acts_total",
                "Communicative acts, by what became of them; each counts as sent or received, and again as "
                "each other outcome that it had.",
                ("protocol", "performative", "direction", "outcome"),
            )
        )
        self._conversations = _Children(
            add(
                Histogram,
                "locution_conversation_seconds",
                "How long conversations took that have ended, by the state in which they did.",
                ("protocol", "role", "outcome"),
                buckets=SECONDS,
            )
        )
        self._retries = add(
            Counter, "locution_retries_total", "Attempts after the first at messages nobody acknowledged."
        )
        self._duplicates = add(Counter, "locution_duplicates_total", "Messages dropped as second copies.")
        self._trouble = _Children(
            add(Counter, "locution_troubles_total", "What went wrong, by the kind of fact.", ("kind",))
        )
        self._elections = _Children(
            add(Counter, "locution_elections_total", "Leaderships won and lost.", ("group", "event"))
        )
        self._rows = add(
            Counter, "locution_training_rows_total", "Rows that went through training, each epoch anew."
        )
        self._trainings = _Children(
            add(
                Histogram,
                "locution_training_seconds",
                "How long trainings took, the wait for their turn left out.",
                ("outcome",),
                buckets=SECONDS,
            )
        )
        self._promised = add(
            Counter, "locution_bid_promised_seconds_total", "Seconds that bids promised which were kept."
        )
        self._taken = add(Counter, "locution_bid_taken_seconds_total", "Seconds that those bids really took.")
        self._errors = add(
            Histogram,
            "locution_bid_error_ratio",
            "How far a bid was from what it took, as a part of what it promised; 0 is a bid that held.",
            buckets=ERRORS,
        )

    def _add_gauges(self) -> None:
        add = self._add
        self._live = add(Gauge, "locution_live", "1 while /health/live answers 200.")
        self._ready = add(Gauge, "locution_ready", "1 while /health/ready answers 200.")
        self._agents = add(Gauge, "locution_agents", "Agents that this process is to run.")
        self._connected = add(Gauge, "locution_agents_connected", "Those with a session at the XMPP server.")
        self._store_up = add(Gauge, "locution_store_up", "1 while the store can be written.")
        self._election_up = add(
            Gauge, "locution_election_up", "1 while it can be said who leads each group that was joined."
        )
        self._outgoing = add(
            Gauge, "locution_outbox_depth", "Messages of this process that are not yet acknowledged."
        )
        self._open = add(Gauge, "locution_conversations_open", "Conversations of this process under way.")
        self._breakers = add(
            Gauge, "locution_breakers", "Circuit breakers of peers that are not closed.", ("state",)
        )
        self._letters = add(
            Gauge, "locution_dead_letters", "Dead letters of these agents in the store, all replicas' alike."
        )
        self._oldest = add(
            Gauge,
            "locution_dead_letters_oldest_age_seconds",
            "How long the oldest dead letter has lain; 0 without any.",
        )
        self._leads = add(Gauge, "locution_is_leader", "1 where an agent here leads the group.", ("group",))
        self._terms = add(
            Gauge, "locution_term", "The highest term in which an agent here has led; 0: none.", ("group",)
        )
        self._gpu = add(
            Gauge,
            "locution_gpu_memory_bytes",
            "Memory of each GPU that this process has used.",
            ("device", "kind"),
        )
        build = add(Info, "locution_build_info", "Versions of what runs.", (), ("version", "python"))
        build.info({"version": _own_version(), "python": sys.version.split()[0]})

    def _add(
        self,
        kind: type,
        name: str,
        text: str,
        labels: Iterable[str] = (),
        shown: Iterable[str] = (),
        **more: Any,
    ) -> Any:
        """Make a metric; `shown` are labels that it has without being asked for them."""
        labels = tuple(labels)
        metric = kind(name.removesuffix("_info"), text, labels, registry=self.registry, **more)
        self._described.append(Described(name, _TYPES[kind], (*labels, *shown), text))
        return metric


def _own_version() -> str:
    try:
        return version("locution")
    except PackageNotFoundError:  # run from a source tree that is not installed
        return "unknown"
