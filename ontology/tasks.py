"""This system's own terms: tasks that agents contract for, bids, awards, progress and results."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import FailFast, Field

from ontology.content import AgentAction, Concept, Ontology, Predicate
from ontology.models import DatasetRef, DeviceDescription, ModelVersion, Name, ResourceDescription, TaskKind

ModelLabel = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}(:[1-9][0-9]{0,8})?$")]
"""A model by name (the newest version) or by ``name:version``."""

Row = Annotated[tuple[float, ...], FailFast()]
"""One row of features. Reading stops at the first wrong value: a message may hold 400,000 of them."""

Rows = Annotated[tuple[Row, ...], FailFast(), Field(min_length=1, max_length=100_000)]
"""Rows of numbers, row by column."""

Column = Annotated[str, Field(min_length=1)]
"""The name of a column of a dataset."""


class TaskName(Concept):
    """Which task of a group something is about, whoever leads it."""

    id: Annotated[str, Field(min_length=1)]
    """The conversation-id of the request that asked for it: its client's own."""
    client: Annotated[str, Field(min_length=1)]
    """The bare JID of whoever asked."""


class Train(AgentAction):
    """Train a model on a dataset and keep it under a name."""

    dataset: DatasetRef
    target: Annotated[str, Field(min_length=1)]
    """The column to predict."""
    drop: tuple[Column, ...] = ()
    """Columns that are no features, such as a number of the row."""
    model: Name = "model"
    kind: TaskKind = "classification"
    network: str = "mlp"
    """A network the learner knows: mlp, cnn, logistic, or one registered by the user."""
    epochs: Annotated[int, Field(ge=1, le=100_000)] = 40
    batch_size: Annotated[int, Field(ge=1, le=1_000_000)] = 64
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 0.003
    patience: Annotated[int, Field(ge=1)] = 10
    """Stop after this many epochs without a better loss on the validation part."""
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """The fraction of the rows that training never sees and the metrics are measured on."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    notify: bool = False
    """Whether the requester wants notices (calls, bids, awards, progress) while the task runs."""
    task: TaskName | None = None
    """What it is part of, where the leader of a group calls for it: to be done once, whoever leads."""


class Resume(AgentAction):
    """Go on with what the leader before has awarded, and answer whoever leads now as if it had.

    Refused by whoever knows nothing of such a task.
    """

    task: TaskName


class Predict(AgentAction):
    """Apply a model to rows."""

    model: ModelLabel
    rows: Rows
    columns: tuple[Column, ...] = ()
    """What the values of each row are, in any order; those that the model does not know are left aside.
    Empty where they are the model's features in its own order."""


class Evaluate(AgentAction):
    """Measure a model on a dataset that has the target column."""

    model: ModelLabel
    dataset: DatasetRef


LONGEST_BID = 1e9
"""Seconds: thirty years."""

FASTEST_BID = 1e12
"""Rows per second. Both keep what is reckoned from a bid finite, whoever made it."""


class Bid(Predicate):
    """What a learner offers: how long it expects to take, from what it measured itself."""

    seconds: Annotated[float, Field(ge=0, le=LONGEST_BID)]
    """Expected time from award to result, waiting included."""
    rows_per_second: Annotated[float, Field(gt=0, le=FASTEST_BID)]
    """Training speed measured on this device."""
    waiting: Annotated[int, Field(ge=0)] = 0
    """Tasks that come before this one."""
    device: DeviceDescription
    begun: bool | None = None
    """True where the learner is at work on this very task already, or has done it."""


class Progress(Predicate):
    """How far a task is."""

    task: str
    """The conversation-id of the request that asked for the task."""
    epoch: Annotated[int, Field(ge=0)]
    epochs: Annotated[int, Field(ge=1)]
    """The most epochs there will be; training may stop earlier."""
    loss: float
    """Mean loss on the training part in this epoch."""
    score: float
    """Accuracy, or R2, on the validation part after this epoch."""


class Called(Predicate):
    """A call for proposals went out."""

    task: str
    learners: tuple[str, ...]
    attempt: Annotated[int, Field(ge=1)] = 1


class Proposed(Predicate):
    """A learner answered the call with a bid, or declined, or was silent: one of the three."""

    task: str
    learner: str
    bid: Bid | None = None
    declined: str | None = None
    silent: str | None = None
    """Why it gave no answer at all: it was not in time, or is not there."""


class Awarded(Predicate):
    """A learner won the task."""

    task: str
    learner: str
    attempt: Annotated[int, Field(ge=1)] = 1


class AwardLost(Predicate):
    """The winner failed or vanished; the task is awarded again."""

    task: str
    learner: str
    text: str


class TakenOver(Predicate):
    """Another leader goes on with the task, and answers in place of the one before."""

    task: str
    leader: str


class Trained(Predicate):
    """The result of `Train`."""

    model: ModelVersion
    learner: str
    seconds: Annotated[float, Field(ge=0)]
    epochs: Annotated[int, Field(ge=1)]
    """Epochs that were run, early stopping considered."""
    resources: ResourceDescription


class Predictions(Predicate):
    """The result of `Predict`, row by row in the order asked."""

    model: str
    """The label of the version that answered."""
    values: tuple[int | float | str, ...]
    """The class label as it stood in the data, or the predicted number."""
    confidence: tuple[float, ...] = ()
    """The probability of the predicted class; empty for regression."""


class Evaluation(Predicate):
    """The result of `Evaluate`."""

    model: str
    rows: Annotated[int, Field(ge=1)]
    metrics: dict[str, float]


LEARNING = Ontology(
    name="locution-learning",
    version=(1, 2),
    terms=(
        Train, Resume, Predict, Evaluate,
        Bid, Progress, Called, Proposed, Awarded, AwardLost, TakenOver, Trained, Predictions, Evaluation,
        TaskName, DatasetRef, ModelVersion, DeviceDescription, ResourceDescription,
    ),
)  # fmt: skip
"""The learning ontology. 1.1 has added `Train.drop`, `Predict.columns` and `Proposed.silent`;
1.2 `Train.task`, `Bid.begun`, `Resume`, `TakenOver` and `TaskName`."""
