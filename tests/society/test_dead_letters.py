"""`locution dead-letters` against real stores, and against a society that runs."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from agents.base import LocutionAgent
from behaviours.handlers import on
from behaviours.outcomes import Answer, Refused
from behaviours.participating import Participation
from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from ontology.codecs import to_json
from ontology.content import Done
from ontology.management import MANAGEMENT, Replay, Search
from resilience.dead_letters import DeadLetter
from resilience.journal import Effects
from resilience.memory import MemoryDeadLetters, MemoryJournal
from resilience.records import RecordsError
from society import commands, dead_letters, keeping, running
from society.cli import main
from society.client import operator
from society.config import SocietyFile, load
from society.errors import MisuseError, NotRunningError, SocietyError
from society.keeping import Posted, open_keeping, open_store
from society.state import StateFolder
from tests.requirements import require
from tests.resilience.redis_server import PATH, RedisServer
from tests.society.conftest import AGENTS, Told, WriteFile

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
WORKER, OTHER = "worker@localhost", "coordinator@localhost"


class Worker(LocutionAgent):
    """Counts what it is asked for."""

    handled = 0

    @on(Search)
    async def search(self, _action: Search, _task: Participation) -> Answer:
        Worker.handled += 1
        return Done()


WITH_WORKER = AGENTS + f'[[agent]]\nname = "worker"\nkind = "{__name__}:Worker"\n'


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=pytest.mark.redis)])
def society(request: pytest.FixtureRequest, write_file: WriteFile, tmp_path: Path) -> Iterator[SocietyFile]:
    """Give a society with a worker on each store."""
    Worker.handled = 0
    path = write_file(WITH_WORKER)
    if request.param == "sqlite":
        yield load(path)
        return
    require(PATH is not None, "redis-server")
    (tmp_path / "redis").mkdir()
    server = RedisServer(tmp_path / "redis", maxmemory_policy="noeviction")
    path.write_text(f'{path.read_text()}[delivery]\nstore = "redis"\nredis = "{server.url}"\n')
    yield load(path)
    server.stop()


def letter(number: int, agent: str = WORKER, message: AclMessage | None = None, **fields: Any) -> DeadLetter:
    inform = AclMessage(
        performative=Performative.INFORM, content="x", receiver=(AgentIdentifier(name=OTHER),)
    )
    known = {
        "id": f"letter{number}",
        "peer": OTHER,
        "is_inbound": False,
        "cause": "unreachable",
        "text": f"gone {number}",
        "original": to_json(message or inform),
        "when": NOW + timedelta(seconds=number),
        "attempts": 5,
        "conversation_id": "c",
        "protocol": "fipa-request",
        "state": "S1",
    }
    return DeadLetter(agent=agent, **{**known, **fields})


async def bury(file: SocietyFile, *letters: DeadLetter) -> None:
    """Have letters lie there, as the agents of a society would."""
    state = StateFolder(file.society.state)
    state.prepare()
    store = open_store(state)
    kept = await open_keeping(file, state, store)
    for each in letters:
        kept.letters.add(each)
    await kept.close()
    store.close()


async def test_letters_are_listed_newest_first_while_nothing_runs(society: SocietyFile, told: Told) -> None:
    await bury(society, letter(1), letter(3), letter(2, OTHER))
    assert await dead_letters.listed(society, None, told) == 0
    found = [fields for name, fields in told.events if name == "dead-letter"]
    assert [each["id"] for each in found] == ["letter3", "letter2", "letter1"]
    assert found[0] == {
        "id": "letter3", "agent": WORKER, "peer": OTHER, "direction": "out", "cause": "unreachable",
        "text": "gone 3", "when": "2026-11-20T12:00:03+00:00", "attempts": 5, "conversation_id": "c",
        "protocol": "fipa-request", "state": "S1",
    }  # fmt: skip
    assert told.events[-1] == ("dead-letters", {"letters": 3, "shown": 3})
    told.events.clear()
    await dead_letters.listed(society, "worker", told, limit=1)
    assert [fields.get("id") for _name, fields in told.events] == ["letter3", None]
    assert told.events[-1][1] == {"letters": 2, "shown": 1}


async def test_one_is_shown_whole_and_dropped_for_good(society: SocietyFile, told: Told) -> None:
    await bury(society, letter(1), letter(2))
    await dead_letters.shown(society, "letter1", None, told)
    assert told.events[-1][1]["original"] == letter(1).original
    await dead_letters.dropped(society, "letter1", None, told)
    assert told.events[-1] == ("dropped", {"id": "letter1", "agent": WORKER})
    for what in (dead_letters.shown, dead_letters.dropped, dead_letters.replayed):
        with pytest.raises(SocietyError, match="there is no dead letter 'letter1'; those that are there"):
            await what(society, "letter1", None, told)
    with pytest.raises(SocietyError, match="coordinator has no dead letter 'letter2'"):
        await dead_letters.shown(society, "letter2", "coordinator", told)
    with pytest.raises(MisuseError, match="has no agent 'workr'; did you mean 'worker'"):
        await dead_letters.shown(society, "letter2", "workr", told)


async def test_a_running_agent_replays_its_letters(
    society: SocietyFile, told: Told, start: Callable[..., Any]
) -> None:
    asked = AclMessage(
        performative=Performative.REQUEST, protocol="fipa-request", conversation_id="c", reply_with="r",
        content=MANAGEMENT.render(Search()), ontology=MANAGEMENT.label,
    )  # fmt: skip
    fresh = letter(1, made=datetime.now(UTC))
    await bury(society, fresh, letter(2, message=asked, is_inbound=True), letter(3, message=asked))
    await start(society)
    for number, done in ((1, "sent"), (2, "handled")):
        assert await dead_letters.replayed(society, f"letter{number}", None, told) == 0
        assert told.events[-1][0] == "replayed"
        assert told.events[-1][1].items() >= {"agent": WORKER, "done": done}.items()
    assert Worker.handled == 1
    with pytest.raises(SocietyError, match="its conversation is over: nobody waits for an answer"):
        await dead_letters.replayed(society, "letter3", None, told)
    with pytest.raises(SocietyError, match="there is no dead letter 'letter1'"):
        await dead_letters.replayed(society, "letter1", None, told)
    async with dead_letters.opened(society) as journal:
        assert [each.id for each in await journal.letters(WORKER)] == ["letter3"]


async def test_what_may_take_effect_twice_is_replayed_only_by_saying_so(
    society: SocietyFile, told: Told, start: Callable[..., Any]
) -> None:
    await bury(society, letter(1, made=datetime.now(UTC) - timedelta(hours=3)))
    await start(society)
    with pytest.raises(SocietyError, match=r"it could take effect twice; .* replay it with --again"):
        await dead_letters.replayed(society, "letter1", None, told)
    command = ("-m", "society", "dead-letters", "replay", "letter1", "--file", str(society.path))
    for flags, code in (((), 1), (("--again",), 0)):
        process = await asyncio.create_subprocess_exec(
            sys.executable, *command, *flags, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        _out, complaint = await process.communicate()
        assert (process.returncode, b"take effect twice" in complaint) == (code, code == 1)
    async with dead_letters.opened(society) as journal:
        assert not await journal.letters(WORKER)


async def test_depths_are_shown_where_people_look(
    society: SocietyFile, told: Told, start: Callable[..., Any]
) -> None:
    await bury(society, letter(1), letter(2, "directory@localhost"))
    await start(society)
    url = f"{society.dashboard_url('worker')}/status.json"
    async with aiohttp.ClientSession() as client, client.get(url) as response:
        delivery = (await response.json())["delivery"]
    age = delivery.pop("oldest_letter_seconds")
    assert (delivery["letters"], delivery["outgoing"]) == (1, 0)
    assert age == pytest.approx((datetime.now(UTC) - NOW).total_seconds() - 1, abs=30)
    told.events.clear()
    await commands.agents(society, told)
    listed = {fields["name"]: fields["delivery"] for name, fields in told.events if name == "agent"}
    assert listed[OTHER]["letters"] == 0


async def test_nobody_but_the_operator_has_letters_replayed(
    write_file: WriteFile, told: Told, start: Callable[..., Any]
) -> None:
    file = load(write_file(WITH_WORKER))
    await bury(file, letter(1, made=datetime.now(UTC)))
    society = await start(file)
    outcome = await society._agents["coordinator"].request(WORKER, Replay(letter="letter1"))
    assert isinstance(outcome, Refused)
    assert outcome.reason.cause == "unauthorised"
    assert "only the operator, operator@localhost, may" in outcome.reason.text
    assert await dead_letters.replayed(file, "letter1", None, told) == 0


async def test_an_agent_without_an_operator_does_not_know_the_action(
    write_file: WriteFile, start: Callable[..., Any]
) -> None:
    file = load(write_file(WITH_WORKER))
    await start(file)
    async with operator(file) as us:
        outcome = await us.request(us.me, Replay(letter="x"))
    assert isinstance(outcome, Refused)
    assert outcome.reason.cause == "unsupported-function"


async def test_an_agent_that_does_not_run_is_one_sentence(
    write_file: WriteFile, told: Told, start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "REPLY_WITHIN", 0.5)
    file = load(write_file(WITH_WORKER))
    await bury(file, letter(1))
    with pytest.raises(NotRunningError):
        await dead_letters.replayed(file, "letter1", None, told)
    await start(file, "xmpp-server", "directory")
    with pytest.raises(NotRunningError, match="worker@localhost does not answer, so nothing was replayed"):
        await dead_letters.replayed(file, "letter1", None, told)


async def test_without_a_store_there_is_a_sentence_and_nothing_is_made(file: SocietyFile, told: Told) -> None:
    with pytest.raises(NotRunningError, match="the society has not been started here yet"):
        await dead_letters.listed(file, None, told)
    assert not file.society.state.exists()
    file.path.write_text(file.path.read_text() + '[delivery]\nstore = "memory"\n')
    with pytest.raises(SocietyError, match="only its own process sees"):
        await dead_letters.listed(load(file.path), None, told)
    with pytest.raises(MisuseError, match="name it by --agent"):
        await dead_letters.replayed(load(file.path), "x", None, told)


def test_the_commands_show_what_they_find_to_people_and_to_programs(
    write_file: WriteFile, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # It is of the process, and other tests want to see what SPADE has to say.
    monkeypatch.setattr(running, "log_to_stderr", lambda **_verbose: None)
    path = write_file(WITH_WORKER)
    asyncio.run(bury(load(path), letter(1, text="gone\x1b[2J")))

    def run(*arguments: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main(["dead-letters", *arguments, "--file", str(path)])
        assert ended.value.code == 0
        return capsys.readouterr().out

    shown = run("list")
    assert "letter1" in shown
    assert "worker@localhost -> coordinator@localhost" in shown
    assert "(fipa-request, S1)" in shown
    assert "\x1b" not in shown
    assert "1 dead letter\n" in shown
    assert "attempts: 5" in run("show", "letter1", "--agent", "worker")
    events = [json.loads(line) for line in run("list", "--json").splitlines()]
    assert [each["event"] for each in events] == ["dead-letter", "dead-letters"]
    assert run("drop", "letter1") == "dropped letter1 of worker@localhost\n"
    assert run("list") == "0 dead letters\n"


async def test_what_the_server_cannot_take_stays_in_memory(caplog: pytest.LogCaptureFixture) -> None:
    class Down(MemoryJournal):
        async def commit(self, effects: Effects, hold: Any = None) -> bool:
            raise RecordsError("the server is gone")

    memory = MemoryDeadLetters()
    letters = Posted(Down(), memory)
    letters.add(letter(1))
    await letters.settled()
    assert [each.id for each in memory.list()] == ["letter1"]
    assert letters.get("letter1") == letter(1)
    assert "a dead letter is kept in memory only: the server is gone" in caplog.text
    assert letters.drop("letter1")
    assert (letters.count(), letters.oldest(), list(letters.list())) == (0, None, [])


async def test_too_many_at_once_stay_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "POSTED_AT_ONCE", 1)
    memory, journal = MemoryDeadLetters(), MemoryJournal()
    letters = Posted(journal, memory)
    letters.add(letter(1))
    letters.add(letter(2))
    await letters.settled()
    assert [each.id for each in await journal.letters(WORKER)] == ["letter1"]
    assert [each.id for each in memory.list()] == ["letter2"]
