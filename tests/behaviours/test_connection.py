"""`behaviours.connection` and `delivery` against a real server: what goes wrong is said in one sentence."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from slixmpp.exceptions import IqTimeout
from spade.xmpp_client import XMPPClient

from agents.base import LocutionAgent
from behaviours import connection as module
from behaviours import delivery as delivery_module
from behaviours.connection import ConnectionFailed, Life, XmppConnection
from behaviours.delivery import Delivered, DeliveryResult, Undelivered
from behaviours.events import Connected, Disconnected, MessageReceived, ignore
from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from society.xmpp_server import (
    CertificateAuthority,
    Limits,
    Passage,
    ScriptedFaults,
    StanzaError,
    StreamError,
    negotiation,
)
from society.xmpp_server.faults import Line
from society.xmpp_server.router import Router
from tests.behaviours.puppets import Puppet
from tests.behaviours.samples import Asker
from tests.conftest import World, becomes, left_behind
from tests.gates import Gate

PING = '<ping xmlns="urn:xmpp:ping"/>'


class Client:
    """A connection and what it reports."""

    def __init__(self, world: World, user: str = "user", **settings: Any) -> None:
        world.account("user")
        self.told: list[str] = []
        self.online, self.offline, self.fatal = asyncio.Event(), asyncio.Event(), asyncio.Event()
        fields: dict[str, Any] = {
            "jid": f"{user}@localhost/here",
            "password": "secret",
            "host": "127.0.0.1",
            "port": world.xmpp.port,
            "ca_file": world.authority.file,
            "on_message": lambda _stanza: None,
            "on_online": self._note("online", self.online),
            "on_offline": self._note("offline", self.offline),
            "on_fatal": self._note("fatal", self.fatal),
            "rng": lambda: 0.0,
            **settings,
        }
        self.connection = XmppConnection(fields.pop("jid"), fields.pop("password"), **fields)
        world.adopt(self)

    def _note(self, what: str, event: asyncio.Event) -> Callable[[str], None]:
        def note(text: str) -> None:
            self.told.append(f"{what}: {text}")
            event.set()

        return note

    async def stop(self) -> None:
        """Log out."""
        await self.connection.close()


async def failure(client: Client, timeout: float = 5) -> str:
    """The sentence with which a connection fails."""
    before = asyncio.all_tasks()
    with pytest.raises(ConnectionFailed) as caught:
        await client.connection.open(timeout)
    assert not await left_behind(before)
    assert not client.connection.is_online
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Come back soon."""
    monkeypatch.setattr(module, "RECONNECT_MOST", 0.1)


@pytest.fixture
def uncounted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server has no stream management (XEP-0198)."""
    monkeypatch.setattr(negotiation, "FEATURE_OF_SM", "")


@pytest.fixture
def dead_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


async def test_a_session_stands_and_is_closed_without_a_trace(world: World) -> None:
    before = asyncio.all_tasks()
    client = Client(world)
    await client.connection.open()
    assert client.connection.is_online
    assert client.told == ["online: user@localhost/here"]
    await client.connection.close()
    await client.connection.close()
    assert not client.connection.is_online
    assert client.told == ["online: user@localhost/here"]
    assert not await left_behind(before)


@pytest.mark.parametrize("settings", [{"password": "wrong"}, {"user": "nobody"}])
async def test_a_wrong_password_is_said_at_once(world: World, settings: dict[str, str]) -> None:
    assert "the server refused the password or knows no such account" in await failure(
        Client(world, **settings)
    )
    world.excuse("No appropriate login method")


async def test_a_certificate_of_an_unknown_authority_is_said_at_once(world: World, tmp_path: Path) -> None:
    other = CertificateAuthority.open(tmp_path / "other")
    told = await failure(Client(world, ca_file=other.file))
    assert told.startswith("user@localhost: the server's certificate is not trusted: ")
    world.excuse("Invalid certificate trust chain")


async def test_the_systems_authorities_do_not_know_ours(world: World) -> None:
    assert "not trusted" in await failure(Client(world, ca_file=None))
    world.excuse("Invalid certificate trust chain")


async def test_a_certificate_for_another_name_is_said_at_once(world: World) -> None:
    class Elsewhere(CertificateAuthority):
        def context(self, names: Iterable[str]) -> ssl.SSLContext:
            return super().context(["elsewhere"])

    await world.xmpp.stop()
    world.authority = Elsewhere(world.authority.folder)
    await world.serve()
    told = await failure(Client(world))
    assert told.startswith("user@localhost: the server's certificate is not trusted: ")
    assert "'localhost'" in told
    world.excuse("Invalid certificate trust chain")


async def test_a_domain_that_the_server_does_not_serve_is_said_at_once(world: World) -> None:
    told = await failure(Client(world, jid="user@elsewhere/here", verify=False, ca_file=None))
    assert told == "user@elsewhere: the server does not serve elsewhere"


async def test_without_verification_any_certificate_will_do(world: World) -> None:
    client = Client(world, verify=False, ca_file=None)
    await client.connection.open()
    assert client.connection.is_online


async def test_a_port_that_nobody_listens_on_is_named(world: World, dead_port: int) -> None:
    told = await failure(Client(world, port=dead_port), timeout=0.3)
    assert told.startswith(f"user@localhost: no session with 127.0.0.1:{dead_port} within 0.3 s: ")
    assert "onnect" in told  # Connection refused, or Connect call failed


async def test_a_host_that_does_not_exist_is_named(world: World) -> None:
    told = await failure(Client(world, host="no.such.host.invalid"), timeout=0.3)
    assert "no session with no.such.host.invalid" in told


async def test_a_server_that_says_nothing_is_given_up(world: World) -> None:
    writers: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(lambda _reader, writer: writers.append(writer), "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    assert "it did not answer" in await failure(Client(world, port=port), timeout=0.2)
    for writer in writers:
        writer.close()
    silent.close()
    await silent.wait_closed()


async def test_logging_in_may_be_cancelled(world: World, dead_port: int) -> None:
    before = asyncio.all_tasks()
    for port in (dead_port, world.xmpp.port):
        for milliseconds in range(0, 12, 2):
            client = Client(world, port=port)
            opening = asyncio.create_task(client.connection.open())
            await asyncio.sleep(milliseconds / 1000)
            if not opening.cancel():
                await client.stop()
            await asyncio.gather(opening, return_exceptions=True)
    await becomes(lambda: not asyncio.all_tasks() - before - {asyncio.current_task()})
    world.complaints.clear()  # slixmpp may complain of what the server still said to a login broken off


async def test_the_same_full_jid_elsewhere_ends_it_for_good(world: World) -> None:
    first, second = Client(world), Client(world)
    await first.connection.open()
    await second.connection.open()
    await asyncio.wait_for(first.fatal.wait(), 5)
    assert first.told[-1] == (
        "fatal: user@localhost/here: another process has logged in under this name (conflict), and of two "
        "the server keeps the newer; stop one of them, or give each a replica name of its own"
    )
    assert first.connection._coming_back is None
    assert not first.connection.is_connecting()
    assert not first.connection.is_online
    assert second.connection.is_online


async def test_a_server_that_has_no_room_for_a_session_says_so(world: World) -> None:
    await world.xmpp.stop()
    await world.serve(limits=Limits(resources=1))
    first = Client(world)
    await first.connection.open()
    told = await failure(Client(world, jid="user@localhost/there"), timeout=0.5)
    assert told == (
        f"user@localhost: no session with 127.0.0.1:{world.xmpp.port} within 0.5 s: "
        "the server refuses the resource 'there': resource-constraint (at most 1 sessions)"
    )


async def test_a_server_that_keeps_the_older_session_is_waited_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RFC 6120, 7.7.2.2, case 2: after a kill it may be our own former one, which is dead."""
    bind, dead = Router.bind, True

    def keep_the_older(router: Router, *args: Any) -> Any:
        if dead:
            raise StanzaError("conflict", "there is one already")
        return bind(router, *args)

    monkeypatch.setattr(Router, "bind", keep_the_older)
    client = Client(world)
    opening = asyncio.create_task(client.connection.open())
    await becomes(lambda: "conflict" in client.connection._last_error)
    assert client.connection._last_error == (
        "the server refuses the resource 'here': conflict (there is one already); it keeps an older session "
        "of that name, which may be dead: have it keep the newer one (Prosody: conflict_resolve = "
        '"kick_old"), or choose another name'
    )
    dead = False
    await asyncio.wait_for(opening, 10)
    assert client.told == ["online: user@localhost/here"]


async def test_it_comes_back_when_the_server_does(world: World) -> None:
    client = Client(world)
    await client.connection.open()
    in_vain: asyncio.Queue[object] = asyncio.Queue()
    client.connection.add_event_handler("connection_failed", in_vain.put_nowait)
    port = world.xmpp.port
    await world.xmpp.stop()
    await asyncio.wait_for(client.offline.wait(), 5)
    assert not client.connection.is_online
    for _attempt in range(3):
        await asyncio.wait_for(in_vain.get(), 5)
    client.online.clear()
    await world.serve(port=port)
    await asyncio.wait_for(client.online.wait(), 5)
    assert client.connection.is_online
    assert [each.partition(":")[0] for each in client.told] == ["online", "offline", "online"]
    assert await client.connection.confirm(5)


async def test_a_password_that_was_changed_meanwhile_ends_it_for_good(world: World) -> None:
    client = Client(world)
    await client.connection.open()
    world.xmpp.add_account("user", "changed")
    client.connection.abort()
    await asyncio.wait_for(client.fatal.wait(), 5)
    assert "refused the password" in client.told[-1]
    assert client.connection._coming_back is not None
    await asyncio.wait_for(client.connection._coming_back, 5)  # it has given up
    assert not client.connection.is_connecting()
    assert [each.partition(":")[0] for each in client.told] == ["online", "offline", "fatal"]
    world.excuse("No appropriate login method")


async def test_nothing_can_be_handed_over_without_a_session(world: World) -> None:
    client = Client(world)
    with pytest.raises(ConnectionFailed, match="no session"):
        client.connection.hand_over("<message/>")
    await client.connection.open()
    client.connection.transport, transport = None, client.connection.transport
    with pytest.raises(ConnectionFailed, match="is lost"):
        client.connection.hand_over("<message/>")
    client.connection.transport = transport


async def test_a_frozen_server_is_noticed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert module.KEEPALIVE_SECONDS + module.KEEPALIVE_TIMEOUT < 10
    monkeypatch.setattr(module, "KEEPALIVE_SECONDS", 0.05)
    monkeypatch.setattr(module, "KEEPALIVE_TIMEOUT", 0.1)
    await world.xmpp.stop()
    await world.serve(faults=Deaf("iq"))
    client = Client(world)
    await client.connection.open()
    await asyncio.wait_for(client.offline.wait(), 5)
    assert client.told[1].startswith("offline: the server has not answered for 0.1 s")


class Deaf:
    """Loses every stanza of a kind to clients that are logged in, and cuts when told to."""

    def __init__(self, kind: str, *, cuts: bool = False) -> None:
        self._kind, self._cuts = kind, cuts

    def pass_on(self, passage: Passage, line: Line) -> None:
        """See `society.xmpp_server.Interceptor`."""
        if passage.kind != self._kind or b"jabber:iq:roster" in passage.xml:
            line.deliver(passage.xml)
        elif self._cuts:
            line.cut()


def test_spade_4_1_4_keeps_alive_too_seldom_and_waits_too_long() -> None:
    client = XMPPClient("user@localhost", "secret", False, False)
    ping = client["xep_0199"]
    assert "Ping keepalive" in client.scheduled_events
    assert ping.interval + ping.timeout > 60
    ping.disable_keepalive()
    assert type(client).connect is XMPPClient.__mro__[1].connect  # no reconnect of its own


async def test_our_connection_does_without_spades_keepalive(world: World) -> None:
    client = Client(world)
    await client.connection.open()
    assert "Ping keepalive" not in client.connection.scheduled_events


# -- probes --------------------------------------------------------------------------------------


async def test_a_probe_tells_a_peer_that_is_there_from_one_that_has_left(world: World) -> None:
    peer, client = Client(world, jid="user@localhost/peer"), Client(world)
    await peer.connection.open()
    await client.connection.open()
    probe = client.connection.probe
    assert await probe("user@localhost/unknown", 1) is Life.ALIVE  # it may not know how to answer
    assert await probe("user@localhost/peer", 1) is Life.ALIVE
    await peer.connection.close()
    for _look in range(5):
        assert await probe("user@localhost/peer", 1) is Life.GONE


async def test_a_probe_that_is_not_answered_is_silence(
    world: World, uncounted: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(world)
    await client.connection.open()
    assert await client.connection.probe("user@localhost/here", 1) is Life.ALIVE

    async def never(*_args: Any, **_more: Any) -> None:
        raise IqTimeout(None)

    monkeypatch.setattr(client.connection["xep_0199"], "send_ping", never)
    assert await client.connection.probe("user@localhost/here", 0.1) is Life.SILENT
    assert not await client.connection.confirm(0.1)


async def test_after_a_break_of_ours_a_peer_has_time_to_come_back_too(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer, client = Client(world, jid="user@localhost/peer"), Client(world)
    await peer.connection.open()
    await client.connection.open()
    assert await client.connection.probe("user@localhost/peer", 1) is Life.ALIVE
    await peer.connection.close()
    client.online.clear()
    client.connection.abort()
    await asyncio.wait_for(client.online.wait(), 5)
    assert await client.connection.probe("user@localhost/peer", 1) is Life.ALIVE
    monkeypatch.setattr(module, "RETURN_WITHIN", 0.0)
    assert await client.connection.probe("user@localhost/peer", 1) is Life.GONE


async def test_peers_that_answer_are_not_remembered_without_end(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 0)
    client = Client(world)
    await client.connection.open()
    for _look in range(3):
        await client.connection.probe("user@localhost/here", 1)
    assert len(client.connection._answering) == 1


async def test_a_question_ends_with_the_connection(world: World, uncounted: None) -> None:
    await world.xmpp.stop()
    await world.serve(faults=Deaf("iq", cuts=True))
    client = Client(world)
    await client.connection.open()
    loop = asyncio.get_running_loop()
    started = loop.time()
    assert not await client.connection.confirm(30)
    assert loop.time() - started < 5
    assert not await client.connection.confirm(30)  # nor does it begin without one
    await asyncio.wait_for(client.connection.wait_online(), 5)
    with pytest.raises(ConnectionFailed, match="is lost"):
        await asyncio.wait_for(client.connection.ask("get", "localhost", PING, 30), 5)


# -- the same session over another connection (XEP-0198) ----------------------------------------


@pytest.fixture
async def gate(world: World) -> AsyncIterator[Gate]:
    """A way to the server that can be cut."""
    async with Gate(world.xmpp.port) as gate:
        yield gate


async def returned(client: Client, cut: Callable[[], None]) -> None:
    """Break a connection, and wait until it is back."""
    client.online.clear()
    client.offline.clear()
    cut()
    await asyncio.wait_for(client.offline.wait(), 5)
    assert not client.connection.is_online
    await asyncio.wait_for(client.online.wait(), 5)
    assert client.connection.is_online


async def test_a_session_goes_on_after_a_break(world: World, gate: Gate) -> None:
    sessions: list[str] = []
    client = Client(world, jid="user@localhost", port=gate.port)
    client.connection.watch(lambda _stanza: False, lambda: sessions.append(client.connection.full_jid))
    await client.connection.open()
    jid = client.connection.full_jid
    for _cut in range(3):
        assert await client.connection.confirm(5)
        client.connection.hand_over("<message to='user@localhost' id='1'/>")
        await returned(client, gate.cut)
    assert [each for each in client.told if not each.startswith("offline: ")] == [f"online: {jid}"] * 4
    assert not client.connection._resuming._settled
    assert sessions == [jid]  # for topics, which are subscribed to still, it is the same one
    assert world.xmpp.sessions() == [jid]


async def test_a_stream_that_the_server_ends_is_not_resumed(world: World) -> None:
    client = Client(world)
    await client.connection.open()
    assert await client.connection.confirm(5)
    assert client.connection._resuming.can_resume
    (session,) = world.xmpp._switchboard
    session.link.close(StreamError("reset"))
    await asyncio.wait_for(client.offline.wait(), 5)
    assert not client.connection._resuming.can_resume


async def test_a_server_that_does_not_let_us_in_is_tried_again(
    world: World, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(world, port=gate.port)
    await client.connection.open()
    monkeypatch.setattr(module, "START_TIMEOUT", 0.05)
    client.online.clear()
    gate.shut()
    knocked = gate.knocked
    await becomes(lambda: gate.knocked > knocked + 2)
    monkeypatch.setattr(module, "START_TIMEOUT", 20.0)
    gate.open()
    await asyncio.wait_for(client.online.wait(), 10)


async def test_what_was_asked_for_is_answered_after_a_break(world: World, gate: Gate) -> None:
    client = Client(world, port=gate.port)
    await client.connection.open()
    assert await client.connection.confirm(5)
    gate.shut()
    asking = asyncio.create_task(client.connection.ask("get", "localhost", PING, 5))
    confirming = asyncio.create_task(client.connection.confirm(5))
    await asyncio.wait_for(client.offline.wait(), 5)
    gate.open()
    assert (await asking).get("type") == "result"
    assert await confirming


async def test_what_was_asked_for_is_lost_with_the_session(world: World) -> None:
    await world.xmpp.stop()
    await world.serve(limits=Limits(resume_seconds=0.05))
    async with Gate(world.xmpp.port) as gate:
        client = Client(world, port=gate.port)
        await client.connection.open()
        assert await client.connection.confirm(5)
        gate.shut()
        client.connection.hand_over("<message to='user@localhost' id='1'/>")
        asking = asyncio.create_task(client.connection.ask("get", "localhost", PING, 30))
        confirming = asyncio.create_task(client.connection.confirm(30))
        await becomes(lambda: not any(world.xmpp._switchboard))
        client.online.clear()
        gate.open()
        with pytest.raises(ConnectionFailed, match="is lost"):
            await asking
        assert not await confirming
        await asyncio.wait_for(client.online.wait(), 5)
        assert await client.connection.confirm(5)
        await returned(client, gate.cut)  # and the new one can be resumed


async def test_what_the_server_has_handled_of_a_lost_session_is_not_handed_over_again(world: World) -> None:
    await world.xmpp.stop()
    await world.serve(limits=Limits(resume_seconds=0.05))
    peer = await Puppet.start(world, "peer")
    async with Gate(world.xmpp.port) as gate:
        client = Client(world, port=gate.port)
        delivery = delivery_module.Delivery(AgentIdentifier(name="user@localhost"), client.connection, ignore)
        client.connection._on_online = lambda _jid: delivery.came_online()
        await client.connection.open()
        delivery.post(hello(peer.jid, 1), peer.jid, lambda _reason: None)
        assert (await peer.hear(Performative.INFORM)).content == "1"
        gate.shut()
        delivery.post(hello(peer.jid, 2), peer.jid, lambda _reason: None)
        await becomes(lambda: "user@localhost/here" not in _of(world))
        delivery.post(hello(peer.jid, 3), peer.jid, lambda _reason: None)
        gate.open()
        assert (await peer.hear(Performative.INFORM)).content == "2"
        assert (await peer.hear(Performative.INFORM)).content == "3"
        assert await client.connection.confirm(5)
        assert await peer.connection.confirm(5)
        assert peer._queue.empty()
        delivery.close()


def _of(world: World) -> set[str]:
    return {session.jid.full for session in world.xmpp._switchboard}


async def test_what_has_been_read_does_not_come_again(world: World) -> None:
    """The farewell tells the server, which would keep for us what we have not acknowledged."""
    heard: list[str] = []
    peer, client = await Puppet.start(world, "peer"), Client(world, on_message=heard.append)
    await client.connection.open()
    for number in range(5):
        peer.say(hello("user@localhost", number), AgentIdentifier.of("user@localhost"))
    await becomes(lambda: len(heard) == 5)
    await client.connection.close()
    again = Client(world, on_message=heard.append)
    await again.connection.open()
    assert await again.connection.confirm(5)
    assert len(heard) == 5


async def test_another_session_elsewhere_is_not_resumed(world: World, gate: Gate) -> None:
    """After a conflict there is nothing to come back to."""
    first, second = Client(world, port=gate.port), Client(world)
    await first.connection.open()
    gate.shut()
    await asyncio.wait_for(first.offline.wait(), 5)
    await second.connection.open()
    second.offline.clear()
    first.online.clear()
    gate.open()
    await asyncio.wait_for(first.online.wait(), 5)  # it cannot know, and logs in anew
    await asyncio.wait_for(second.fatal.wait(), 5)
    assert world.xmpp.sessions() == ["user@localhost/here"]


# -- delivery on real sockets --------------------------------------------------------------------


def hello(to: AgentIdentifier | str, number: int = 0) -> AclMessage:
    """Make a message."""
    receiver = AgentIdentifier.of(to) if isinstance(to, str) else to
    return AclMessage(performative=Performative.INFORM, receiver=(receiver,), content=str(number))


def why(result: DeliveryResult) -> str:
    """Why something was not delivered."""
    assert isinstance(result, Undelivered)
    assert result.reason.cause == "unreachable"
    return result.reason.text


@pytest.fixture
async def asker(world: World) -> LocutionAgent:
    return await world.start(Asker, "asker")


async def test_what_is_delivered_and_what_is_not(world: World, asker: LocutionAgent) -> None:
    puppet = await Puppet.start(world, "puppet")
    assert await asker.delivery.send(hello(puppet.jid)) == Delivered()
    await puppet.hear(Performative.INFORM)
    assert "no such agent" in why(await asker.delivery.send(hello("nobody@localhost")))
    assert "no other server was found" in why(await asker.delivery.send(hello("someone@elsewhere")))
    world.account("asleep")
    assert await asker.delivery.send(hello("asleep@localhost")) == Delivered()  # stored by the server
    both = hello(puppet.jid).model_copy(update={"receiver": (puppet.jid, AgentIdentifier.of("no@localhost"))})
    assert "no@localhost" in why(await asker.delivery.send(both))
    await puppet.hear(Performative.INFORM)


async def test_without_a_server_nothing_is_delivered_and_everything_is_told(
    world: World, asker: LocutionAgent
) -> None:
    asker.delivery._patience = 0.1
    await world.xmpp.stop()
    await world.fact(Disconnected)
    told = why(await asker.delivery.send(hello("nobody@localhost")))
    assert told == "no connection to the server within 0.1 s; it was not sent"


async def test_a_connection_cut_before_the_confirmation_is_told_soon(world: World, uncounted: None) -> None:
    await world.xmpp.stop()
    await world.serve(faults=Deaf("iq", cuts=True))
    asker = await world.start(Asker, "asker")
    world.account("asleep")
    async with asyncio.timeout(5):
        told = why(await asker.delivery.send(hello("asleep@localhost")))
    assert told == "the connection was lost before the server confirmed: nobody knows whether it arrived"


async def test_a_server_that_does_not_confirm_in_time_is_told(
    world: World, uncounted: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_module, "CONFIRM_WITHIN", 0.1)
    await world.xmpp.stop()
    await world.serve(faults=Deaf("iq"))
    asker = await world.start(Asker, "asker")
    world.account("asleep")
    assert "nobody knows" in why(await asker.delivery.send(hello("asleep@localhost")))


async def test_what_waited_for_the_server_goes_out_in_order(world: World, asker: LocutionAgent) -> None:
    port = world.xmpp.port
    puppet = await Puppet.start(world, "puppet")
    await world.xmpp.stop()
    await world.fact(Disconnected)
    await asyncio.wait_for(puppet.went_offline.wait(), 5)
    sending = [asyncio.ensure_future(asker.delivery.send(hello(puppet.jid, number))) for number in range(9)]
    await asyncio.sleep(0)
    await world.serve(port=port)
    await world.fact(Connected, count=2)
    assert set(await asyncio.gather(*sending)) == {Delivered()}
    heard = [(await puppet.hear(Performative.INFORM)).content for _number in range(9)]
    assert heard == [str(number) for number in range(9)]


async def test_a_cut_at_the_receiver_loses_nothing_that_was_told_as_delivered(world: World) -> None:
    # The receiver's connection breaks as the message is written to it; the server keeps it then,
    # or returns it. What it must not do is nothing.
    await world.xmpp.stop()
    await world.serve(faults=ScriptedFaults(["cut"]))
    asker, other = await world.start(Asker, "asker"), await world.start(Asker, "other")
    result = await asker.delivery.send(hello(other.me))
    if result == Delivered():
        await world.until(lambda: other.is_connected)
    assert not world.of(MessageReceived, agent="other@localhost") or result == Delivered()
