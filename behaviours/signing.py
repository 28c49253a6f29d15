"""Signatures of ACL messages from end to end (Ed25519): who has said it, whatever a server stamps.

Two user-defined parameters carry one (FIPA00061, 2.6), so that it survives every written form:

- ``X-signed-at``, the time in ISO 8601;
- ``X-signature``, in base64, over the message in canonical form, its id, both bare JIDs, and that time.

What the forms and servers on the way may change is left out or made uniform: full JIDs of sender and
receiver, the order of agents and parameters, white space of a JSON object. This is the only file here that
knows cryptography.
"""

from __future__ import annotations

import base64
import binascii
import json
from datetime import datetime
from functools import lru_cache
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ontology.acl import AclMessage
from ontology.acl_parameters import read_time, texts_of, write_time
from ontology.aid import AgentIdentifier
from ontology.errors import MessageError

SIGNATURE = "X-signature"
SIGNED_AT = "X-signed-at"

_ALGORITHM = "ed25519:"
"""Stands before a public key, so that another kind of key can be told from it one day."""

_CONTEXT = "locution-acl-1"
"""What is signed begins with it: a signature of something else is none of a message."""


class SigningKey:
    """An agent's own key.

    Args:
        secret: as `new` has made it.

    Raises:
        ValueError: it is no key.
    """

    def __init__(self, secret: str) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(_bytes_of(secret, "no secret key"))
        self.public = _ALGORITHM + _text_of(self._key.public_key().public_bytes_raw())
        """The public key, for others: ``ed25519:`` and base64."""

    @staticmethod
    def new() -> str:
        """Make a secret key, as text; it is to be kept from everybody."""
        return _text_of(Ed25519PrivateKey.generate().private_bytes_raw())

    def sign(
        self,
        message: AclMessage,
        *,
        stanza_id: str,
        sender: AgentIdentifier,
        receiver: AgentIdentifier,
        now: datetime,
    ) -> AclMessage:
        """The message with a signature, in place of any that it has.

        Args:
            message: what is said.
            stanza_id: the id that this copy travels under.
            sender: we.
            receiver: who this copy is for.
            now: the time, aware.
        """
        signed_at = write_time(now)
        said = canonical(message, stanza_id, sender, receiver, signed_at)
        signature = _text_of(self._key.sign(said))
        parameters = {**message.user_parameters, SIGNED_AT: signed_at, SIGNATURE: signature}
        return message.model_copy(update={"user_parameters": parameters})


def unsigned(message: AclMessage) -> AclMessage:
    """The message without its signature."""
    if message.user_parameters.keys().isdisjoint((SIGNATURE, SIGNED_AT)):
        return message
    left = {
        name: each for name, each in message.user_parameters.items() if name not in {SIGNATURE, SIGNED_AT}
    }
    return message.model_copy(update={"user_parameters": left})


def is_signed(message: AclMessage) -> bool:
    """Whether a message bears a signature, be it right or wrong."""
    return SIGNATURE in message.user_parameters and SIGNED_AT in message.user_parameters


def signed_at(message: AclMessage) -> datetime | None:
    """When a message says that it was signed; None where it does not."""
    try:
        return read_time(message.user_parameters.get(SIGNED_AT, ""))
    except MessageError:
        return None


def is_by(
    public: str, message: AclMessage, *, stanza_id: str, sender: AgentIdentifier, receiver: AgentIdentifier
) -> bool:
    """Whether the owner of a public key has signed exactly this, to this receiver, under this id.

    Args:
        public: as in `SigningKey.public`; one that is no key has signed nothing.
        message: as it was received.
        stanza_id: the id that it came under.
        sender: who is said to have sent it.
        receiver: we.
    """
    at = message.user_parameters.get(SIGNED_AT, "")
    try:
        signature = base64.b64decode(message.user_parameters.get(SIGNATURE, ""), validate=True)
        _public(public).verify(signature, canonical(message, stanza_id, sender, receiver, at))
    except (ValueError, InvalidSignature):
        return False
    return True


def is_key(public: str) -> bool:
    """Whether a text is a public key."""
    try:
        _public(public)
    except ValueError:
        return False
    return True


def canonical(
    message: AclMessage, stanza_id: str, sender: AgentIdentifier, receiver: AgentIdentifier, at: str
) -> bytes:
    """What is signed: JSON with sorted keys, in ASCII.

    Args:
        message: its sender and receivers, and any signature on it, do not count.
        stanza_id: the id of this copy.
        sender: of whom the name counts.
        receiver: likewise.
        at: the text of `SIGNED_AT`.
    """
    user = {
        name: value for name, value in message.user_parameters.items() if name not in {SIGNATURE, SIGNED_AT}
    }
    said = {
        "performative": message.performative.value,
        "parameters": dict(texts_of(message)),
        "reply-to": sorted(agent.jid for agent in message.reply_to),
        "reply-by": None if message.reply_by is None else write_time(message.reply_by),
        "content": _meaning(message.content),
        "user-defined": user,
    }
    whole = [_CONTEXT, stanza_id, sender.name, receiver.name, at, said]
    return json.dumps(whole, sort_keys=True, separators=(",", ":")).encode()


def _meaning(content: str | None) -> Any:
    """The content without what a way of writing may change: a JSON object is written anew on its way."""
    if content is None or not content.strip():
        return None
    if not content.lstrip().startswith("{"):
        return content
    try:
        return {"object": json.dumps(json.loads(content), sort_keys=True, separators=(",", ":"))}
    except (ValueError, RecursionError):
        return content


@lru_cache(maxsize=4096)
def _public(text: str) -> Ed25519PublicKey:
    if not text.startswith(_ALGORITHM):
        raise ValueError(f"a public key begins with {_ALGORITHM}")
    raw = _bytes_of(text.removeprefix(_ALGORITHM), "no public key")
    return Ed25519PublicKey.from_public_bytes(raw)


def _bytes_of(text: str, what: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != 32:
        raise ValueError(f"this is {what}: 32 bytes in base64 are")
    return raw


def _text_of(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")
