from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from society.terminal import Terminal

BID = {"seconds": 1.23, "rows_per_second": 1234.5, "waiting": 0, "device": {"kind": "cpu", "name": "x"}}

READY = {
    "society": "digits",
    "xmpp": "127.0.0.1:5222",
    "serves": True,
    "seconds": 1.26,
    "agents": [
        {"name": "a", "jid": "a@localhost", "kind": "learner", "dashboard": "http://127.0.0.1:1/spade"},
        {"name": "long-name", "jid": "b@localhost", "kind": "own:Kind", "dashboard": None},
    ],
}


def piped(*events: tuple[str, dict[str, Any]]) -> str:
    out = StringIO()
    terminal = Terminal(Console(file=out, highlight=False, soft_wrap=True))
    for name, fields in events:
        terminal(name, **fields)
    terminal.close()
    return out.getvalue()


def test_readiness_names_every_agent_and_its_dashboard():
    assert piped(("ready", READY)) == (
        "  a          learner   http://127.0.0.1:1/spade\n"
        "  long-name  own:Kind  no dashboard\n"
        "ready: digits, 2 agents, XMPP server 127.0.0.1:5222, 1.3 s; Ctrl-C stops it\n"
    )


def test_readiness_says_where_the_metrics_are():
    told = piped(("ready", {**READY, "metrics": "http://127.0.0.1:9464/metrics"}))
    assert told.splitlines()[2:] == [
        "  metrics              http://127.0.0.1:9464/metrics",
        "ready: digits, 2 agents, XMPP server 127.0.0.1:5222, 1.3 s; Ctrl-C stops it",
    ]
    assert piped(("ready", {**READY, "metrics": None})) == piped(("ready", READY))


def test_a_start_is_told_from_its_beginning_to_its_end():
    assert piped(
        ("starting", {"society": "digits", "file": "digits.toml"}),
        ("waiting", {"xmpp": "127.0.0.1:5222"}),
        ("stopping", {"because": "SIGINT"}),
        ("stopped", {}),
    ) == (
        "starting digits (digits.toml)\n"
        "waiting for the XMPP server at 127.0.0.1:5222\n"
        "stopping (SIGINT); the same again ends it at once\n"
        "stopped\n"
    )


def test_an_agent_that_stopped_by_itself_says_why():
    assert piped(("agent-stopped", {"name": "a", "because": "conflict [x]"})) == (
        "a has stopped, because conflict [x]\n"
    )
    assert piped(("agent-stopped", {"name": "a", "because": None})) == "a has stopped, as it was asked to\n"


def test_a_training_is_told_step_by_step():
    told = piped(
        ("looking", {"service": "coordination", "seconds": 10.0}),
        ("asked", {"receiver": "c@localhost"}),
        ("called", {"learners": ["a@localhost", "b@localhost"], "attempt": 1}),
        ("proposed", {"learner": "a@localhost", "bid": BID, "declined": None}),
        ("proposed", {"learner": "b@localhost", "bid": {**BID, "waiting": 2}, "declined": None}),
        ("proposed", {"learner": "d@localhost", "bid": None, "declined": "too [busy]", "silent": None}),
        (
            "proposed",
            {"learner": "e@localhost", "bid": None, "declined": None, "silent": "e@localhost did not answer"},
        ),
        ("awarded", {"learner": "a@localhost", "attempt": 1}),
        ("award-lost", {"learner": "a@localhost", "text": "a@localhost has left"}),
        ("taken-over", {"leader": "c-2@localhost"}),
        ("called", {"learners": [], "attempt": 2}),
    )
    assert told == (
        "looking   for coordination in the directory, for 10 s\n"
        "asked     c@localhost\n"
        "called    a@localhost, b@localhost\n"
        "proposed  a@localhost: 1.2 s (cpu, 1,234 rows/s)\n"
        "proposed  b@localhost: 1.2 s (cpu, 1,234 rows/s, 2 before it)\n"
        "declined  d@localhost: too [busy]\n"
        "silent    e@localhost did not answer\n"
        "awarded   a@localhost\n"
        "lost      a@localhost has left\n"
        "followed  c-2@localhost leads now, and goes on with it\n"
        "called    nobody (attempt 2)\n"
    )


def progress(epoch: int, epochs: int = 100) -> tuple[str, dict[str, Any]]:
    return "progress", {"epoch": epoch, "epochs": epochs, "loss": 0.5, "score": 0.9}


def test_into_a_pipe_progress_is_a_line_now_and_then():
    lines = piped(*(progress(epoch) for epoch in range(1, 101))).splitlines()
    assert len(lines) == 11
    assert lines[0] == "training  epoch 1 of 100, loss 0.5000, validation 0.9000"
    assert lines[-1].startswith("training  epoch 100 of 100")


def test_on_a_terminal_progress_is_a_bar():
    out = StringIO()
    console = Console(file=out, force_terminal=True, highlight=False, soft_wrap=True, width=100)
    terminal = Terminal(console)
    for epoch in range(1, 41):
        terminal(*progress(epoch, 40)[:1], **progress(epoch, 40)[1])
    terminal("trained", **TRAINED)
    terminal.close()
    assert "━" in out.getvalue()
    assert "epoch 40 of 40" in out.getvalue()
    assert "held-out accuracy 0.9722" in out.getvalue()


TRAINED = {
    "label": "digits:1",
    "learner": "a@localhost",
    "seconds": 1.5,
    "epochs": 40,
    "model": {"kind": "classification", "metrics": {"log_loss": 0.1, "accuracy": 0.97222, "macro_f1": 0.9}},
    "resources": {},
}


def test_the_result_begins_with_the_held_out_score():
    assert piped(("trained", TRAINED)) == (
        "trained   digits:1 by a@localhost in 1.5 s, 40 epochs\n"
        "held-out accuracy 0.9722\nheld-out log_loss 0.1000\nheld-out macro_f1 0.9000\n"
    )
    early = {**TRAINED, "epochs": 1, "stopped_early": True}
    assert piped(("trained", early)).startswith(
        "trained   digits:1 by a@localhost in 1.5 s, 1 epoch, stopped early\n"
    )
    regression = {**TRAINED, "model": {"kind": "regression", "metrics": {"mae": 1, "r2": 0.5, "rmse": 2}}}
    assert piped(("trained", regression)).splitlines()[1:] == [
        "held-out r2 0.5000", "held-out mae 1.0000", "held-out rmse 2.0000",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"row": 1, "value": 7.0}, "row    1         7"),
        ({"row": 12, "value": "cat", "confidence": 0.5}, "row   12       cat  (50.0%)"),
        ({"row": 1, "value": "7", "actual": "7", "is_right": True}, "row    1         7  actual 7  right"),
        ({"row": 1, "value": "7", "actual": "8", "is_right": False}, "row    1         7  actual 8  wrong"),
        ({"row": 1, "value": 1.25, "actual": "1.5"}, "row    1      1.25  actual 1.5"),
    ],
)
def test_a_prediction_is_a_line(fields, line):
    assert piped(("prediction", fields)) == line + "\n"


def test_predictions_are_summed_up():
    fields = {"model": "digits:1", "rows": 10, "seconds": 0.1234}
    assert piped(("predicted", fields)) == "digits:1: 10 rows, 0.12 s\n"
    assert piped(("predicted", {**fields, "right": 9})) == "digits:1: 10 rows, 9 right, 0.12 s\n"
    assert piped(("predicted", {**fields, "rows": 1})) == "digits:1: 1 row, 0.12 s\n"


def test_an_agent_of_the_directory_is_one_line_of_services_lease_and_dashboard():
    services = [
        {"type": "training", "name": "training"},
        {"type": "inference", "name": "digits"},
        {"type": "inference", "name": "digits"},
    ]
    fields = {"name": "a@localhost", "services": services, "lease_left": 59.6, "dashboard": "http://x"}
    assert piped(("agent", fields)) == "a@localhost  training; models: digits  lease 60 s  http://x\n"
    many = [{"type": "inference", "name": f"m{number:02}"} for number in range(12)]
    assert piped(("agent", {**fields, "services": many, "lease_left": None, "dashboard": None})) == (
        "a@localhost  models: m00, m01, m02, m03, m04, m05, m06, m07, m08, m09 and 2 more\n"
    )
    assert piped(("agent", {**fields, "services": [], "lease_left": None, "dashboard": None})) == (
        "a@localhost  no services\n"
    )
    assert (
        piped(("listed", {"agents": 0, "directory": "d@localhost"}))
        == "nobody is registered at d@localhost\n"
    )
    assert piped(("listed", {"agents": 1, "directory": "d@localhost"})) == ""


def test_a_reply_is_a_block():
    reply = AclMessage(
        performative=Performative.INFORM,
        sender=AgentIdentifier(name="a@localhost"),
        conversation_id="c",
        content='{"done":{}} [bold]',
        user_parameters={"X-about": "t"},
    )
    assert piped(("reply", {"reply": reply})) == (
        'inform from a@localhost\n  conversation-id: c\n  X-about: t\n  {"done":{}} [bold]\n'
    )


def test_a_check_is_a_line():
    assert piped(("check", {"name": "xmpp", "ok": False, "text": "[taken]"})) == "fail  xmpp: [taken]\n"
    assert piped(("check", {"name": "file", "ok": True, "text": "good"})) == "ok    file: good\n"


def test_what_has_no_form_for_people_is_left_out():
    assert piped(("cancelled", {}), ("refused", {"cause": "x", "text": "y"})) == ""


def test_long_lines_stay_whole():
    assert piped(("asked", {"receiver": "x" * 300})).count("\n") == 1
