"""Saying anything to anyone, and hearing what comes back: the raw side of ``locution send``.

It stands below the mailroom: no protocol is enforced and nothing is answered, so that broken
conversations can be tried out.
"""

from __future__ import annotations

import asyncio
import secrets
import uuid
from collections.abc import AsyncGenerator, Mapping

from agents.base import Server
from behaviours.bouncing import may_return, meaning_of
from behaviours.clocking import system_now
from behaviours.connection import ConnectionFailed, XmppConnection
from behaviours.signing import SigningKey, is_signed
from behaviours.wire import Bounced, Element, Received, Unreadable, parse, render
from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from society.client import not_let_in, reach
from society.config import SocietyFile
from society.errors import NotRunningError, SocietyError
from society.keys import signing_keys
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

UNENDING = frozenset({Performative.PROXY, Performative.SUBSCRIBE, Performative.REQUEST_WHENEVER})
"""Acts that are answered again and again, a proxy by everybody that was found."""


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
    state, name = StateFolder(file.society.state), file.society.operator
    password = state.password(name)
    server = await reach(file)
    arrived: asyncio.Queue[Element] = asyncio.Queue()
    try:
        connection = _connection(file, password, server, arrived)
        await connection.open()
    except (ConnectionFailed, OSError) as error:
        raise not_let_in(file, error) from error
    try:
        ids = {uuid.uuid4().hex: to for to in message.receiver}
        me, key = AgentIdentifier.of(file.jid(name)), signing_keys(file, state, name).get(name)
        stanzas = [_rendered(message, me, to, stanza_id, key) for stanza_id, to in ids.items()]
        recording_of(file)(message.model_copy(update={"sender": me}))
        for stanza in stanzas:
            connection.hand_over(stanza)
        if not await connection.confirm(CONFIRM_WITHIN):
            raise SocietyError("the server did not confirm that it has the message; look whether it runs")
        async for reply in _replies(arrived, message, me, ids, wait):
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


def _rendered(
    message: AclMessage, me: AgentIdentifier, to: AgentIdentifier, stanza_id: str, key: SigningKey | None
) -> str:
    if key is not None and not is_signed(message):  # what is said to be signed may be meant to be wrong
        message = key.sign(message, stanza_id=stanza_id, sender=me, receiver=to, now=system_now())
    try:
        return render(message, to.jid, stanza_id)
    except ValueError as error:
        raise SocietyError(str(error)) from error


async def _replies(
    arrived: asyncio.Queue[Element],
    message: AclMessage,
    me: AgentIdentifier,
    ids: Mapping[str, AgentIdentifier],
    wait: float,
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
            case Bounced() if (to := ids.get(incoming.stanza_id)) and may_return(incoming, to, me):
                raise SocietyError(
                    f"the message to {to} came back: {meaning_of(incoming)} ({incoming.condition})"
                )
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
