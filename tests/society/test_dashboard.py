import asyncio
import logging
import re
import socket
import time
from contextlib import AsyncExitStack

import aiohttp
import pytest
from slixmpp import JID
from spade.agent import Agent
from spade.behaviour import CyclicBehaviour, FSMBehaviour, PeriodicBehaviour, State, TimeoutBehaviour
from spade.container import Container
from spade.message import Message
from spade.presence import (
    Contact,
    PresenceInfo,
    PresenceManager,
    PresenceNotFound,
    PresenceShow,
    PresenceType,
)
from spade.xmpp_client import XMPPClient

from society.dashboard import Dashboard, DashboardError
from society.xmpp_server import CertificateAuthority, XmppServer

EVIL = "<script>alert(1)</script>"
PEER = "bob@localhost"
PAGES = [
    "/spade",
    "/spade/",
    "/spade/messages/",
    "/spade/stop",
    f"/spade/agent/{PEER}/",
    "/spade/behaviour/CyclicBehaviour/Listening/",
]
CHANGES = [
    "/spade/stop/now/",
    "/spade/behaviour/CyclicBehaviour/Listening/kill/",
    f"/spade/agent/unsubscribe/{PEER}/",
    f"/spade/agent/{PEER}/send/",
]


class Listening(CyclicBehaviour):
    async def run(self):
        await self.receive(timeout=0.02)


class Waiting(State):
    async def run(self):
        await asyncio.sleep(0.05)
        self.set_next_state("WAITING")


class Machine(FSMBehaviour):
    def setup(self):
        self.add_state("WAITING", Waiting(), initial=True)
        self.add_transition("WAITING", "WAITING")


class Ticking(PeriodicBehaviour):
    async def run(self):
        pass


class Later(TimeoutBehaviour):
    async def run(self):
        pass


@pytest.fixture
async def agent(monkeypatch):
    """A SPADE agent with its real client and presence, in front of a wire that only remembers."""
    Container().reset()
    agent = Agent("alice@localhost", "secret")
    agent.client = XMPPClient(agent.jid, "secret", False, False)
    agent.wire = []
    monkeypatch.setattr(agent.client, "is_connected", lambda: True)
    monkeypatch.setattr(agent.client, "send", agent.wire.append)
    monkeypatch.setattr(agent.client, "send_presence", lambda **stanza: agent.wire.append(stanza))
    agent.presence = PresenceManager(agent)
    agent.presence.contacts[PEER] = Contact(JID(PEER), "bob", "both", "", [])
    agent._alive.set()
    agent.add_behaviour(Listening())
    yield agent
    running = [it for it in agent.behaviours if it.is_running]
    await agent.stop()
    for behaviour in running:
        await behaviour.join(timeout=5)


@pytest.fixture
async def dashboard(agent):
    dashboard = Dashboard(agent, port=0)
    await dashboard.start()
    yield dashboard
    await dashboard.stop()


@pytest.fixture
async def client(dashboard):
    async with aiohttp.ClientSession(dashboard.url.removesuffix("/spade")) as session:
        yield session


async def get(client, path, status=200, **options):
    async with client.get(path, **options) as response:
        assert response.status == status, await response.text()
        return await response.text()


async def post(client, path, status=303, headers=None, **fields):
    async with client.post(path, data=fields, headers=headers, allow_redirects=False) as response:
        assert response.status == status, await response.text()
        return await response.text()


async def token(client):
    return re.search(r'name="csrf_token" value="([^"]+)"', await get(client, "/spade/stop"))[1]


def hear(agent, body="hello", sender=PEER, to="alice@localhost", **metadata):
    message = Message(to=to, sender=sender, body=body, thread="t-1", metadata=metadata)
    agent.traces.append(message, category="CyclicBehaviour/Listening")
    return message


# Pages


@pytest.mark.parametrize("path", PAGES)
async def test_every_page_needs_nothing_from_elsewhere(agent, client, path):
    hear(agent, performative="inform")
    text = await get(client, path)
    assert re.findall(r"(?:https?:)?//[^\s\"'<]*", text) == []
    assert "gravatar" not in text
    assert "<script" not in text
    assert " style=" not in text
    for reference in re.findall(r'(?:href|src|action)="([^"]*)"', text):
        assert reference.startswith(("/spade", "#content")), reference


@pytest.mark.parametrize("path", PAGES)
async def test_every_page_says_where_one_is(client, path):
    text = await get(client, path)
    assert text.startswith("<!DOCTYPE html>\n<html lang=")
    for once in ("<main", "<header>", "<nav", "<footer>", "<h1>"):
        assert text.count(once) == 1
    assert "alice@localhost" in text


async def test_the_address_alone_leads_to_the_first_page(client):
    async with client.get("/", allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (302, "/spade")
    assert "alice@localhost" in await get(client, "/")


async def test_a_first_page_of_ones_own_stays(agent):
    async def own(_):
        return aiohttp.web.Response(text="mine")

    agent.web.app.router.add_get("/", own)
    dashboard = Dashboard(agent, port=0)
    await dashboard.start()
    async with aiohttp.ClientSession(dashboard.url.removesuffix("/spade")) as session:
        assert await get(session, "/") == "mine"
    await dashboard.stop()


async def test_style_comes_from_here_and_loads_nothing(client):
    text = await get(client, "/spade/static/dashboard.css")
    assert "url(" not in text
    assert "@import" not in text
    assert "prefers-color-scheme: dark" in text


async def test_style_outlives_the_agent_in_the_cache_and_pages_do_not(client):
    for path, kept in (("/spade/static/dashboard.css", "max-age=600"), ("/spade", "no-store")):
        async with client.get(path) as response:
            assert response.headers["Cache-Control"] == kept


async def test_index_shows_behaviours_contacts_and_messages(agent, client):
    agent.behaviours[0].kill()
    hear(agent, "good morning", performative="inform")
    text = await get(client, "/spade")
    assert "Listening" in text
    assert "killed" in text
    assert "good morning" in text
    assert "inform" in text
    assert "Conversations" not in text  # nobody gave any


async def test_contact_without_presence_is_offline(client):
    assert "offline" in await get(client, "/spade")


async def test_spades_own_index_still_fails_for_a_contact_without_presence(agent):
    """When this fails, SPADE is mended and our index may go."""
    with pytest.raises(PresenceNotFound):
        await agent.web.index(None)


@pytest.mark.parametrize(
    ("kind", "show", "word"),
    [("available", "chat", "online"), ("available", "none", "online"), ("available", "away", "away"),
     ("available", "dnd", "do not disturb"), ("unavailable", "none", "offline")],
)  # fmt: skip
async def test_presence_of_a_contact(agent, client, kind, show, word):
    agent.presence.contacts[PEER].update_presence("r", PresenceInfo(PresenceType(kind), PresenceShow(show)))
    for path in ("/spade", f"/spade/agent/{PEER}/"):
        assert f">{word}</span>" in await get(client, path)


async def test_conversations_and_facts_are_tables(agent):
    row = {
        "peer": f"{PEER}/r",
        "protocol": "fipa-request",
        "role": "initiator",
        "state": "agreed",
        "since": "7:31",
    }
    fact = {"time": "7:32", "fact": "MessageSent", "detail": EVIL}
    dashboard = Dashboard(
        agent,
        port=0,
        conversations=lambda: [row],
        facts=lambda: iter([fact]),
        counts=lambda: {"message sent": 12345},
    )
    await dashboard.start()
    async with aiohttp.ClientSession() as session:
        text = await get(session, dashboard.url)
        status = await (await session.get(f"{dashboard.url}/status.json")).json()
    for cell in (
        "fipa-request",
        "initiator",
        "agreed",
        "7:31",
        "MessageSent",
        f"/spade/agent/{PEER}/".replace("@", "%40"),
        "message sent",
        "12,345",
    ):
        assert cell in text
    assert EVIL not in text
    assert status["conversations"] == [row]
    assert status["counts"] == {"message sent": 12345}


async def test_status_as_json(agent, client):
    async with client.get("/spade/status.json") as response:
        status = await response.json()
    behaviour = status["behaviours"].pop()
    assert status == {
        "jid": "alice@localhost", "alive": True, "connected": True, "behaviours": [], "conversations": [],
        "counts": {}, "delivery": None,
    }  # fmt: skip
    assert behaviour["name"] == "CyclicBehaviour/Listening"
    assert behaviour["state"] == "running"
    assert f"{id(agent.behaviours[0]):x}" not in behaviour["id"]


async def test_agent_that_never_started_has_pages_too():
    Container().reset()
    agent = Agent("carol@localhost", "secret")
    agent.add_behaviour(Listening())
    dashboard = Dashboard(agent, port=0)
    await dashboard.start()
    async with aiohttp.ClientSession(dashboard.url.removesuffix("/spade")) as client:
        for path in PAGES:
            assert "stopped" in await get(client, path)
        assert "not started" in await get(client, "/spade")
        assert "not connected" in await get(client, f"/spade/agent/{PEER}/")
        await post(client, f"/spade/agent/{PEER}/send/", 409, csrf_token=await token(client), message="hi")
    await agent.stop()
    assert not agent.web.is_started()


async def test_agent_page_shows_what_went_both_ways(agent, client):
    hear(agent, "from bob")
    hear(agent, "to bob", sender="alice@localhost", to=f"{PEER}/laptop")
    hear(agent, "from carol", sender="carol@localhost")
    for jid in (PEER, f"{PEER}/laptop"):
        text = await get(client, f"/spade/agent/{jid}/")
        assert "from bob" in text
        assert "to bob" in text
        assert "from carol" not in text


async def test_agent_page_of_a_stranger(client):
    assert "None that the agent remembers" in await get(client, "/spade/agent/stranger@elsewhere/")
    await get(client, "/spade/agent/@@/", 404)


@pytest.mark.parametrize("behaviour", [Machine(), Ticking(period=7), Later(start_at="tomorrow")])
async def test_behaviour_page_of_every_kind(agent, client, behaviour):
    agent.behaviours.append(behaviour)
    text = await get(client, f"/spade/behaviour/{behaviour}/")
    assert type(behaviour).__name__ in text
    agent.behaviours.remove(behaviour)


async def test_behaviour_with_two_base_classes_and_one_that_is_not_there(agent, client):
    class Twofold(Listening, CyclicBehaviour):
        pass

    agent.add_behaviour(Twofold())
    assert "Listening, CyclicBehaviour" in await get(
        client, "/spade/behaviour/Listening/CyclicBehaviour/Twofold/"
    )
    await get(client, "/spade/behaviour/CyclicBehaviour/Absent/", 404)


async def test_messages_are_shown_once_and_cut_when_long(agent, client):
    message = hear(agent, "y" * 5000)
    agent.traces.append(message, category="CyclicBehaviour/Other")
    text = await get(client, "/spade/messages/")
    assert text.count("y" * 2000 + "… (5000 characters)") == 1
    for _ in range(250):
        hear(agent, "again")
    text = await get(client, "/spade/messages/")
    assert text.count("<pre>again</pre>") == 200
    assert "The latest of 252" in text


async def test_message_without_a_body(agent, client):
    hear(agent, None)
    assert "<pre></pre>" in await get(client, "/spade/messages/")


async def test_menu_entries_and_controllers_of_ones_own(agent, tmp_path):
    (tmp_path / "tasks.html").write_text(
        "{% extends 'internal_tpl_base.html' %}{% block content_title %}Tasks{% endblock %}"
        "{% block content %}<b>{{ open }} open</b> {{ dashboard.token }}{% endblock %}"
    )

    async def tasks(_):
        return {"open": 7}

    agent.web.add_template_path(str(tmp_path))
    agent.web.add_menu_entry("My tasks", "/tasks")
    agent.web.add_get("/tasks", tasks, "tasks.html")
    agent.web.add_post("/close", tasks, None)
    dashboard = Dashboard(agent, port=0)
    await dashboard.start()
    async with aiohttp.ClientSession(dashboard.url.removesuffix("/spade")) as client:
        assert '<a href="/tasks">My tasks</a>' in await get(client, "/spade")
        assert "<b>7 open</b>" in await get(client, "/tasks")
        await post(client, "/close", 403)
        await post(client, "/close", 200, {"X-CSRF-Token": await token(client)})


# Everything that an agent was told is text


async def test_nothing_that_others_say_becomes_markup(agent, client):
    behaviour = type(EVIL, (Listening,), {})()
    agent.add_behaviour(behaviour)
    agent.presence.contacts["x&y'\"@localhost"] = Contact(None, "x", "both", "", [])
    message = hear(agent, EVIL, performative=EVIL, key=EVIL)
    message._sender = JID(f"{PEER}/{EVIL}")
    message._thread = EVIL
    agent.traces.append(Message(to="alice@localhost", sender=PEER, body=EVIL), category=str(behaviour))
    link = re.search(r'href="(/spade/behaviour/[^"]*alert[^"]*)"', await get(client, "/spade"))[1]
    for path in [*PAGES, link.replace("&amp;", "&")]:
        text = await get(client, path)
        assert "<script" not in text
        assert "y'\"@" not in text
    assert "&lt;script&gt;" in text


# Changes


@pytest.mark.parametrize("path", CHANGES)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
async def test_a_link_changes_nothing(agent, client, path, method):
    headers = {"X-CSRF-Token": await token(client)}
    async with client.request(method, path, headers=headers) as response:
        assert response.status == 405
        assert response.headers["Allow"] == "POST"
        assert method == "HEAD" or "changes nothing" in await response.text()
    assert_unchanged(agent)


@pytest.mark.parametrize("path", CHANGES)
async def test_a_form_without_the_token_changes_nothing(agent, client, path):
    for fields in ({}, {"csrf_token": ""}, {"csrf_token": "é" * 43}, {"csrf_token": "A" * 43}):
        await post(client, path, 403, message="hi", **fields)
    await post(client, path, 403, {"X-CSRF-Token": "\udcff"}, message="hi")
    assert_unchanged(agent)


@pytest.mark.parametrize("path", CHANGES)
@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "http://["])
async def test_a_form_of_another_site_changes_nothing(agent, client, path, origin):
    await post(client, path, 403, {"Origin": origin}, csrf_token=await token(client), message="hi")
    assert_unchanged(agent)


def assert_unchanged(agent):
    assert agent.is_alive()
    assert agent.web.is_started()
    assert not agent.behaviours[0].is_killed()
    assert agent.presence.contacts[PEER].subscription == "both"
    assert agent.wire == []


async def test_tokens_differ_between_dashboards(agent):
    assert Dashboard(agent)._token != Dashboard(agent)._token


async def test_kill_a_behaviour(agent, client, dashboard):
    behaviour = agent.behaviours[0]
    own = {"Origin": dashboard.url.removesuffix("/spade")}
    await post(client, CHANGES[1], 303, own, csrf_token=await token(client))
    assert behaviour.is_killed()
    assert agent.is_alive()


async def test_kill_the_second_of_two_behaviours_of_one_class(agent, client):
    agent.add_behaviour(Listening())
    link = re.findall(r'href="(/spade/behaviour/[^"]+)"', await get(client, "/spade"))[1]
    identity = re.search(r'name="id" value="([^"]+)"', await get(client, link))[1]
    await post(client, CHANGES[1], 404, csrf_token=await token(client), id="0")
    await post(client, CHANGES[1], csrf_token=await token(client), id=identity)
    assert [it.is_killed() for it in agent.behaviours] == [False, True]


async def test_unsubscribe(agent, client):
    async with client.post(
        CHANGES[2], data={"csrf_token": await token(client)}, allow_redirects=False
    ) as response:
        assert response.status == 302
    assert agent.wire == [{"pto": PEER, "ptype": "unsubscribe"}]


async def test_send_a_message(agent, client):
    await post(client, CHANGES[3], csrf_token=await token(client), message=f"{EVIL} ünï")
    assert agent.wire[0]["body"] == f"{EVIL} ünï"
    assert str(agent.wire[0]["to"]) == PEER
    assert "&lt;script&gt;" in await get(client, f"/spade/agent/{PEER}/")


@pytest.mark.parametrize("body", ["", "  \n", "bell \x07", "\ufffe"])
async def test_a_message_that_would_not_arrive_is_refused(agent, client, body):
    await post(client, CHANGES[3], 400, csrf_token=await token(client), message=body)
    await post(client, CHANGES[3], 400, csrf_token=await token(client))
    assert agent.wire == []


async def test_send_to_a_jid_that_must_be_quoted(client):
    async with client.post(
        "/spade/agent/50%25%3F@localhost/send/",
        data={"csrf_token": await token(client), "message": "hi"},
    ) as response:
        assert response.status == 200
        assert "50%?@localhost" in await response.text()


# Who may ask


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "localhost.evil.example", "10.0.0.7", "", "[", "::"]
)
@pytest.mark.parametrize("path", ["/spade", "/spade/status.json", "/nowhere"])
async def test_a_name_that_is_not_ours_is_refused(client, host, path):
    assert "own address" in await get(client, path, 403, headers={"Host": host})


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9", "127.0.0.1", "127.9.9.9:1", "[::1]:10001"])
async def test_loopback_names_are_answered(client, host):
    await get(client, "/spade", headers={"Host": host})


@pytest.mark.parametrize(
    ("bound", "host", "expected"),
    [("0.0.0.0", "10.0.0.7:10001", True), ("::", "[fe80::7]", True), ("0.0.0.0", "evil.example", False),
     ("Agents.Example", "agents.example:1", True), ("agents.example", "evil.example", False)],
)  # fmt: skip
async def test_names_when_bound_beyond_loopback(agent, bound, host, expected):
    assert Dashboard(agent, host=bound)._is_own_name(host) is expected


@pytest.mark.parametrize(
    "path", ["/spade", "/spade/status.json", "/spade/static/dashboard.css", "/nowhere", CHANGES[0]]
)
async def test_headers_of_every_answer(client, path):
    async with client.get(path) as response:
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Referrer-Policy"] == "same-origin"
        assert "Access-Control-Allow-Origin" not in response.headers


async def test_headers_of_a_page_that_fails(agent):
    dashboard = Dashboard(agent, port=0, facts=lambda: 1 / 0)
    await dashboard.start()
    async with aiohttp.ClientSession() as session, session.get(dashboard.url) as response:
        assert response.status == 500
        assert "ZeroDivision" not in await response.text()
        assert "Content-Security-Policy" in response.headers


# Starting and stopping


async def settle(dashboard):
    """Return when the stop that a page asked for is over."""
    if dashboard._stopping is not None:
        await asyncio.wait([dashboard._stopping])


async def test_address(agent):
    dashboard = Dashboard(agent, port=0)
    await dashboard.start()
    assert re.fullmatch(r"http://127\.0\.0\.1:[1-9]\d+/spade", dashboard.url)
    assert (agent.web.hostname, agent.web.is_started()) == ("127.0.0.1", True)
    assert {name[0] for name in agent.web.runner.addresses} == {"127.0.0.1"}
    await dashboard.stop()
    assert not agent.web.is_started()
    await dashboard.stop()
    await dashboard.start()
    assert agent.web.is_started()


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("::1", "http://[::1]:7/spade"),
        ("0.0.0.0", "http://127.0.0.1:7/spade"),
        ("::", "http://[::1]:7/spade"),
    ],
)
async def test_url_can_be_opened(agent, host, url):
    assert Dashboard(agent, host=host, port=7).url == url


@pytest.mark.parametrize(("host", "port"), [("", 1), ("127.0.0.1", -1), ("127.0.0.1", 65536)])
async def test_nonsense_is_refused_when_made(agent, host, port):
    with pytest.raises(ValueError, match="host and a port"):
        Dashboard(agent, host=host, port=port)


async def test_taken_port_is_one_sentence(agent, caplog):
    cleaned = []

    async def note(app):
        cleaned.append(app)

    agent.web.app.on_cleanup.append(note)
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        dashboard = Dashboard(agent, port=port)
        with pytest.raises(DashboardError) as raised:
            await dashboard.start()
    for part in (
        "alice@localhost",
        f"127.0.0.1 port {port}",
        "another program holds that port",
        "0 takes any",
    ):
        assert part in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not agent.web.is_started()
    assert caplog.records == []
    assert cleaned == [agent.web.app]
    await dashboard.start()  # now it is free
    assert agent.web.is_started()


@pytest.mark.parametrize("host", ["192.0.2.1", "name.invalid"])
async def test_foreign_host_is_one_sentence(agent, host):
    with pytest.raises(DashboardError, match="an address of this machine"):
        await Dashboard(agent, host=host, port=0).start()


async def test_only_one_dashboard_for_an_agent(agent, dashboard):
    with pytest.raises(DashboardError, match="use one Dashboard"):
        await Dashboard(agent, port=0).start()
    with pytest.raises(DashboardError, match="use one Dashboard"):
        await dashboard.start()
    await dashboard.stop()
    with pytest.raises(DashboardError, match="use one Dashboard"):
        await Dashboard(agent, port=0).start()


async def test_stop_page_answers_at_once_and_stops_afterwards(agent, client, dashboard):
    secret = await token(client)
    began = time.monotonic()
    assert "is stopping" in await post(client, "/spade/stop/now/", 200, csrf_token=secret)
    await settle(dashboard)
    assert not agent.is_alive()
    assert time.monotonic() - began < 1
    assert not agent.web.is_started()
    assert agent.behaviours == [] or agent.behaviours[0].is_killed()
    with pytest.raises(aiohttp.ClientConnectorError):
        await client.get("/spade")


async def test_agent_that_fails_to_stop_is_logged(agent, client, dashboard, monkeypatch, caplog):
    async def fail():
        raise OSError("no way")

    monkeypatch.setattr(agent, "stop", fail)
    with caplog.at_level(logging.ERROR):
        await post(client, "/spade/stop/now/", 200, csrf_token=await token(client))
        await settle(dashboard)
    monkeypatch.undo()
    assert "alice@localhost did not stop cleanly: no way" in caplog.text


async def test_agent_stop_takes_under_a_second_with_a_request_under_way(agent):
    entered = asyncio.Event()

    async def slow(_):
        entered.set()
        await asyncio.Event().wait()

    agent.web.add_get("/slow", slow, None)
    dashboard = Dashboard(agent, port=0)
    await dashboard.start()
    async with aiohttp.ClientSession(dashboard.url.removesuffix("/spade")) as client:
        await get(client, "/spade")  # leaves a connection open
        request = asyncio.create_task(client.get("/slow"))
        await entered.wait()
        began = time.monotonic()
        await agent.stop()
        assert time.monotonic() - began < 1
        with pytest.raises(aiohttp.ClientError):
            await request
    assert not agent.web.is_started()
    assert not agent.is_alive()


async def test_spade_still_believes_in_a_runner_that_is_gone(agent):
    """When this fails, SPADE forgets its runner itself and `_forget` may go."""
    await agent.web.start(hostname="127.0.0.1")
    await agent.stop()
    assert agent.web.is_started()
    agent.web.runner = None


async def test_two_connected_agents_talk_through_the_page(tmp_path):
    """No stand-ins: what is typed into a form of one agent goes over XMPP onto the page of the other."""
    Container().reset()
    passwords = {"alice": "one", "bob": "two"}
    authority = CertificateAuthority.open(tmp_path)
    async with (
        XmppServer("localhost", passwords=passwords, authority=authority) as server,
        AsyncExitStack() as stack,
    ):
        agents = {}
        pages = {}
        for name, password in passwords.items():
            agents[name] = Agent(f"{name}@localhost", password, port=server.port)
            await agents[name].start(auto_register=False)
            dashboard = Dashboard(agents[name], port=0)
            await dashboard.start()
            pages[name] = await stack.enter_async_context(
                aiohttp.ClientSession(dashboard.url.removesuffix("/spade"))
            )
        agents["bob"].add_behaviour(Listening())
        arrived = asyncio.Event()
        agents["bob"].client.add_event_handler("message", lambda _: arrived.set())
        assert ">connected</span>" in await get(pages["alice"], "/spade")
        secret = await token(pages["alice"])
        await post(pages["alice"], f"/spade/agent/{PEER}/send/", csrf_token=secret, message="over the wire")
        await asyncio.wait_for(arrived.wait(), 10)
        for name, path in (("alice", f"/spade/agent/{PEER}/"), ("bob", "/spade/agent/alice@localhost/")):
            assert "<pre>over the wire</pre>" in await get(pages[name], path)
        behaviour = agents["bob"].behaviours[0]
        began = time.monotonic()
        for name, agent in agents.items():
            await post(pages[name], "/spade/stop/now/", 200, csrf_token=await token(pages[name]))
            while agent.is_alive():  # noqa: ASYNC110 - SPADE has no event for it
                await asyncio.sleep(0.01)
            assert not agent.web.is_started()
        assert time.monotonic() - began < 2
        await behaviour.join(timeout=5)
