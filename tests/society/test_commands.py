"""The commands of a client against a running society whose learner only pretends: no torch is needed."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agents.coordinator import INFERENCE, TRAINING
from agents.registered import RegisteredAgent
from behaviours.handlers import bids, on
from behaviours.outcomes import Answer, Fail, Refuse
from behaviours.participating import Participation
from ontology.acl import AclMessage
from ontology.codecs import FORMATS
from ontology.management import ServiceDescription
from ontology.models import DeviceDescription, ModelVersion, ResourceDescription
from ontology.tasks import Bid, Predict, Predictions, Progress, Train, Trained
from society import arguments, client, commands, events
from society.config import SocietyFile, load
from society.errors import NotRunningError, SocietyError
from society.tables import Table
from tests.society.conftest import AGENTS, Told

CPU = DeviceDescription(kind="cpu", name="pretended", memory_bytes=1)


class Pretender(RegisteredAgent):
    """Does everything at once and says what it is told to say by the name of the network."""

    def services(self) -> tuple[ServiceDescription, ...]:
        return (
            ServiceDescription(name=TRAINING, type=TRAINING),
            ServiceDescription(name="m", type=INFERENCE),
        )

    @bids(Train)
    async def bid(self, _action: Train, _task: Participation) -> Answer:
        return Bid(seconds=1.0, rows_per_second=2.0, device=CPU)

    @on(Train)
    async def train(self, action: Train, task: Participation) -> Answer:
        if action.network == "broken":
            return Fail("unsupported-value", "the network is broken")
        if action.network == "endless":
            task.tell(Progress(task=task.id, epoch=1, epochs=2, loss=0.5, score=0.5))
            await asyncio.Event().wait()
        model = ModelVersion(
            name="m", version=1, uri="m", sha256="0" * 64, data_sha256="1" * 64, network="mlp",
            kind=action.kind, metrics={"accuracy": 0.9, "r2": 0.5}, code_version="1",
            created=datetime(2026, 11, 20, tzinfo=UTC),
        )  # fmt: skip
        resources = ResourceDescription(cpus=1, memory_bytes=1, devices=(CPU,))
        return Trained(model=model, learner=self.me.name, seconds=1.0, epochs=2, resources=resources)

    @on(Predict)
    async def predict(self, action: Predict, _task: Participation) -> Answer:
        sums = [sum(row) for row in action.rows]
        if action.model == "picky":
            return Refuse("unsupported-value", f"the model needs the column 'y'; it has {action.columns[0]}")
        if action.model == "numbers":
            return Predictions(model="numbers:1", values=tuple(sums))
        return Predictions(model="m:1", values=tuple(map(str, sums)), confidence=(0.5,) * len(sums))


@pytest.fixture
async def society(write_file, start) -> SocietyFile:
    pretender = f'[[agent]]\nname = "learner"\nkind = "{__name__}:Pretender"\n'
    file = load(write_file(AGENTS + pretender))
    (file.path.parent / "data.csv").write_text("x,y\n1,2\n")
    await start(file)
    return file


def task(file: SocietyFile, **wishes: object) -> Train:
    return arguments.task(Path("data.csv"), file.society.data, {"target": "y", **wishes})


async def test_a_training_is_told_as_it_goes(society, told):
    told.events.clear()
    assert await commands.train(society, None, task(society), None, told) == 0
    assert told.names == ["asked", "called", "proposed", "awarded", "trained"]
    assert told.events[0][1] == {"receiver": "coordinator@localhost"}
    assert told.events[-1][1]["label"] == "m:1"
    assert told.events[-1][1]["stopped_early"]
    json.dumps(told.events)


@pytest.mark.parametrize(
    ("kind", "score", "told_so"),
    [("classification", 0.95, "accuracy is 0.9000, 0.95 was asked for"), ("regression", 0.6, "r2 is 0.5000")],
)
async def test_a_score_below_what_was_asked_for_is_a_failure(society, told, kind, score, told_so):
    with pytest.raises(SocietyError, match=f"m:1: held-out {told_so}"):
        await commands.train(society, None, task(society, kind=kind), score, told)
    assert told.names[-1] == "trained"
    assert await commands.train(society, None, task(society), 0.9, told) == 0


async def test_a_failure_is_an_event_and_a_sentence(society, told):
    with pytest.raises(SocietyError, match="the network is broken"):
        await commands.train(society, None, task(society, network="broken"), None, told)
    assert told.names[-1] == "failed"


async def test_a_cancelled_training_is_taken_back(society, told):
    asking = asyncio.create_task(commands.train(society, None, task(society, network="endless"), None, told))
    await told.wait_for("progress")
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking


async def test_classes_are_compared_and_numbers_are_shown(society, told):
    table = Table(rows=((1.0, 2.0), (3.0, 4.0)), actual=("3", "8"))
    assert await commands.predict(society, None, "m", table, told) == 0
    rows = [fields for name, fields in told.events if name == "prediction"]
    assert rows == [
        {"row": 1, "value": "3.0", "confidence": 0.5, "actual": "3", "is_right": True},
        {"row": 2, "value": "7.0", "confidence": 0.5, "actual": "8", "is_right": False},
    ]
    assert told.events[-1][1].items() >= {"model": "m:1", "rows": 2, "right": 1}.items()
    told.events.clear()
    assert await commands.predict(society, "learner", "numbers", table, told) == 0
    assert told.events[0] == ("prediction", {"row": 1, "value": 3.0, "actual": "3"})
    assert "right" not in told.events[-1][1]


async def test_columns_go_by_name_and_what_is_missed_is_told_with_its_fault(society, told):
    table = Table(rows=((1.0,),), actual=(), columns=("x",), left_out={"y": "r.csv:2: 'b'", "z": "no"})
    with pytest.raises(SocietyError, match=r"^the model needs the column 'y'; it has x; r.csv:2: 'b'$"):
        await commands.predict(society, "learner", "picky", table, told)


async def test_an_unknown_model_is_one_sentence(society, told):
    with pytest.raises(SocietyError, match="no learner has a model 'other'; there are: m"):
        await commands.predict(society, None, "other", Table(rows=((1.0,),), actual=()), told)


async def test_the_directory_is_listed(society, told):
    assert await commands.agents(society, told) == 0
    listed = {fields["name"]: fields for name, fields in told.events if name == "agent"}
    assert listed["learner@localhost"]["services"] == [
        {"name": "training", "type": "training"}, {"name": "m", "type": "inference"},
    ]  # fmt: skip
    assert listed["learner@localhost"]["dashboard"] == society.dashboard_url("learner")
    assert told.events[-1] == ("listed", {"agents": 2, "directory": "directory@localhost"})


async def test_without_a_coordinator_a_client_says_so(write_file, start, told, monkeypatch):
    monkeypatch.setattr(client, "FIND_WITHIN", 0.5)
    monkeypatch.setattr(events, "TELL_AFTER", 0.0)
    file = load(write_file())
    (file.path.parent / "data.csv").touch()
    await start(file, "xmpp-server", "directory")
    with pytest.raises(
        NotRunningError, match="no coordinator stands in the directory; see that the agents run"
    ):
        await commands.train(file, None, task(file), None, told)
    assert told.events[-1] == ("looking", {"service": "coordination", "seconds": 0.5})


async def send(file: SocietyFile, told: Told, to: str, act: str, content: str, **more: object) -> int:
    wait = float(str(more.pop("wait", 5.0)))
    form = more.pop("form", None)
    message = arguments.message(file, to.split(","), act, content, more)
    told.events.clear()
    return await commands.send(file, message, wait, told, form)


async def test_replies_come_until_the_last_word(society, told):
    assert await send(society, told, "directory", "request", '{"search":{}}', protocol="fipa-request") == 0
    assert [fields["reply"].performative for _name, fields in told.events] == ["inform"]


@pytest.mark.parametrize("form", FORMATS)
async def test_replies_are_told_as_whole_messages_in_the_form_that_was_asked_for(society, told, form):
    content = '{"search":{}}'
    assert await send(society, told, "directory", "request", content, protocol="fipa-request", form=form) == 0
    (reply,) = (FORMATS[form].read(text, None) for text, _fields in told.events)
    assert (reply.performative, reply.protocol) == ("inform", "fipa-request")
    assert reply.sender.name == "directory@localhost"


async def test_a_message_to_nobody_is_not_sent(society, told):
    with pytest.raises(SocietyError, match="the message names no receiver"):
        await commands.send(society, AclMessage(performative="inform"), 1.0, told)


async def test_every_receiver_may_answer(society, told):
    to = "directory,coordinator"
    assert await send(society, told, to, "request", '{"fly":{}}') == 1
    senders = {fields["reply"].sender.name for _name, fields in told.events}
    assert senders == {"directory@localhost", "coordinator@localhost"}


async def test_neither_a_notice_nor_an_agree_is_the_last_word(society, told):
    content = f'{{"train":{task(society, network="endless").model_dump_json()}}}'
    assert await send(society, told, "learner", "request", content, protocol="fipa-request", wait=1.0) == 0
    assert [fields["reply"].performative for _name, fields in told.events] == ["inform", "agree"]


async def test_a_message_that_comes_back_or_stays_unanswered_is_told(society, told):
    with pytest.raises(
        SocietyError, match=r"the message to nobody@localhost came back: there is no such agent"
    ):
        await send(society, told, "nobody", "request", "{}")
    with pytest.raises(SocietyError, match="came back"):
        await send(society, told, "nobody", "request", "{}", wait=0)
    with pytest.raises(SocietyError, match=r"no reply from learner@localhost within 0\.2 s"):
        await send(society, told, "learner", "agree", "{}", protocol="fipa-request", wait=0.2)
    assert await send(society, told, "learner", "agree", "{}", wait=0) == 0
    with pytest.raises(SocietyError, match="U\\+0001, which XML cannot carry"):
        await send(society, told, "learner", "inform", "\x01")
