"""Who signs with which key, as the society file and its state folder have it."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from agents.base import Ports
from behaviours.signing import SigningKey
from resilience.memory import MemoryJournal
from society.config import SocietyFile
from society.errors import StateError
from society.recording import recording_of
from society.state import StateFolder

_log = logging.getLogger("locution")


def signing_keys(file: SocietyFile, state: StateFolder, *names: str) -> Mapping[str, SigningKey]:
    """The keys that accounts of this file sign with, by name; none where nobody signs here.

    Raises:
        StateError: what is kept of them cannot be used.
    """
    return state.keys(names) if file.authority is not None and file.authority.signs else {}


class KnownKeys:
    """The public keys that are known for certain: those of ``[authority.keys]``, and of the state folder.

    Another process may make a key there at any time; it is found as soon as it is asked for.
    """

    def __init__(self, file: SocietyFile, state: StateFolder) -> None:
        self._file, self._state = file, state
        written = file.authority.keys if file.authority is not None else {}
        self._written = {name.lower(): key for name, key in written.items()}
        self._kept: dict[str, str] = {}
        self._read_at = (0, 0)

    def __call__(self, name: str) -> str | None:
        """The public key of the account with this bare JID."""
        if name in self._written:
            return self._written[name]
        changed = self._state.keys_changed()
        if changed != self._read_at:
            self._read_at = changed
            self._read()
        return self._kept.get(name)

    def _read(self) -> None:
        try:
            kept = self._state.public_keys()
        except StateError as error:  # those that were known still are
            _log.warning("%s", error)
        else:
            self._kept = {self._file.jid(name): key for name, key in kept.items()}


def operator_ports(file: SocietyFile, state: StateFolder) -> Ports:
    """The collaborators of the agent that stands for the command line.

    Raises:
        StateError: its key cannot be kept.
    """
    name = file.society.operator
    return Ports(
        journal=MemoryJournal(file.delivery.policy),
        record=recording_of(file),
        policy=file.policy,
        key=signing_keys(file, state, name).get(name),
        keys=KnownKeys(file, state),
    )
