"""Saying anything to anyone, and hearing what comes back: the raw side of ``locution send``.

It stands below the mailroom: no protocol is enforced and nothing is answered, so that broken
conversations can be tried out.
"""

from __future__ import annotations

import asyncio
import secrets
import uuid
from collections.abc import AsyncGenerator

from agents.base import Server
from behaviours.connection import ConnectionFailed, XmppConnection
from behaviours.wire import Bounced, Element, Received, Unreadable, parse, render
from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from society.client import not_let_in, reach
from society.config import SocietyFile
from society.errors import NotRunningError, SocietyError
from society.recording import recording_of
from society.state import StateFolder

CONFIRM_WITHIN = 10.0
"""Seconds in which the server has to take the message."""

LAST_WORDS = frozenset(
    {
        Performative.INFORM,
        Performative.FAILURE,
        Performative.REFUSE,
        Performative.NOT_UNDERSTOOD,
        Performative.CONFIRM,
        Performative.DISCONFIRM,
        Performative.PROPOSE,
        Performative.ACCEPT_PROPOSAL,
        Performative.REJECT_PROPOSAL,
    }
)
"""Acts after which the peer waits for us, or for nobody."""

BAD_NEWS = frozenset({Performative.FAILURE, Performative.REFUSE, Performative.NOT_UNDERSTOOD})

UNENDING = frozenset({Performative.SUBSCRIBE, Performative.REQUEST_WHENEVER})
"""Acts that are answered again and again."""


async def say(file: SocietyFile, message: AclMessage, wait: float) -> AsyncGenerator[AclMessage, None]:
    """Send a message as the operator and yield every reply, until the peer has said its last word.

    Args:
        file: the society.
        message: sent as it is, to each receiver.
        wait: seconds to wait for a reply after the message or the reply before it; 0 does not wait.

    Raises:
        NotRunningError: no society answers.
        SocietyError: the message cannot be sent, or was returned undelivered.
    """
    password = StateFolder(file.society.state).password(file.society.operator)
    server = await reach(file)
    arrived: asyncio.Queue[Element] = asyncio.Queue()
    try:
        connection = _connection(file, password, server, arrived)
        await connection.open()
    except (ConnectionFailed, OSError) as error:
        raise not_let_in(file, error) from error
    try:
        ids = [uuid.uuid4().hex for _to in message.receiver]
        stanzas = [_rendered(message, to.jid, id_) for to, id_ in zip(message.receiver, ids, strict=True)]
        me = AgentIdentifier.of(file.jid(file.society.operator))
        recording_of(file)(message.model_copy(update={"sender": me}))
        for stanza in stanzas:
            connection.hand_over(stanza)
        if not await connection.confirm(CONFIRM_WITHIN):
            raise SocietyError("the server did not confirm that it has the message; look whether it runs")
        async for reply in _replies(arrived, message, set(ids), wait):
            yield reply
    except ConnectionFailed as error:
        raise NotRunningError(f"the connection to {file.society.name!r} is lost: {error}") from error
    finally:
        await connection.close()


def _connection(
    file: SocietyFile, password: str, server: Server, arrived: asyncio.Queue[Element]
) -> XmppConnection:
    return XmppConnection(
        f"{file.jid(file.society.operator)}/{secrets.token_hex(4)}",
        password,
        host=server.host,
        port=server.port,
        ca_file=server.ca_file,
        on_message=arrived.put_nowait,
        on_online=lambda _jid: None,
        on_offline=lambda _reason: None,
        on_fatal=lambda _reason: None,
    )


def _rendered(message: AclMessage, to: str, stanza_id: str) -> str:
    try:
        return render(message, to, stanza_id)
    except ValueError as error:
        raise SocietyError(str(error)) from error


async def _replies(
    arrived: asyncio.Queue[Element], message: AclMessage, ids: set[str], wait: float
) -> AsyncGenerator[AclMessage, None]:
    open_ends = len(ids)
    while open_ends:
        try:
            async with asyncio.timeout(wait if wait > 0 else None):
                if wait <= 0 and arrived.empty():
                    return
                incoming = parse(await arrived.get())
        except TimeoutError:
            return
        match incoming:
            case Bounced() if incoming.stanza_id in ids:
                raise SocietyError(_returned(incoming))
            case Received(message=reply) if wait > 0 and _belongs(reply, message):
                yield reply
                is_notice = "X-about" in reply.user_parameters
                if (
                    reply.performative in LAST_WORDS
                    and not is_notice
                    and message.performative not in UNENDING
                ):
                    open_ends -= 1
            case Unreadable() if any(incoming.sender.is_same_agent(each) for each in message.receiver):
                raise SocietyError(f"{incoming.sender} answered with no ACL message: {incoming.body[:200]!r}")


def _belongs(reply: AclMessage, message: AclMessage) -> bool:
    """Whether a message has to do with ours: by conversation, by reply-with, or by who says it."""
    if reply.user_parameters.get("X-about") == message.conversation_id:
        return True
    if message.reply_with is not None and reply.in_reply_to == message.reply_with:
        return True
    if reply.conversation_id is not None:
        return reply.conversation_id == message.conversation_id
    return reply.sender is not None and any(reply.sender.is_same_agent(each) for each in message.receiver)


def _returned(bounced: Bounced) -> str:
    meaning = {
        "service-unavailable": "there is no such agent, or it is offline",
        "recipient-unavailable": "it is offline",
        "item-not-found": "there is no such agent",
        "remote-server-not-found": "its domain is not served here",
    }.get(bounced.condition, bounced.condition)
    return f"the message to {bounced.peer} came back: {bounced.text or meaning} ({bounced.condition})"
