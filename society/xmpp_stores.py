"""The embedded server's stores on `Records`: accounts, waiting messages and rosters survive a restart.

Each is read once, when it is made: one process runs the server, so nobody else writes these collections.

- ``xmpp-accounts``: user -> JSON of salt, iterations and keys (never a password)
- ``xmpp-offline``: ``user/number`` -> stanza; numbers grow and are padded, so that their order is by age
- ``xmpp-rosters``: ``user/contact`` -> JSON of the item
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from resilience.records import Records
from resilience.sqlite_store import StoreError as DatabaseError
from society.xmpp_server import Credentials, Keys, MemoryAccounts, MemoryOffline, StoreError, derive
from society.xmpp_server.rosters import Item, MemoryRosters

ACCOUNTS, OFFLINE, ROSTERS = "xmpp-accounts", "xmpp-offline", "xmpp-rosters"


@contextmanager
def _as_the_server_wants() -> Iterator[None]:
    """A store that fails is told to the client, who may try again; the server lives on."""
    try:
        yield
    except DatabaseError as error:
        raise StoreError(str(error)) from error


class RecordedAccounts:
    """`AccountStore`: the society's own accounts, and those that strangers made.

    The society's own come first and stay in memory, as their passwords are kept elsewhere.

    Args:
        own: user to password.
        records: where the others are kept.
    """

    def __init__(self, own: Mapping[str, str], records: Records) -> None:
        self._records = records
        self._own = MemoryAccounts()
        for user, password in own.items():
            self._own.set_password(user, password)
        self._made = {user: _credentials(text) for user, text in records.all(ACCOUNTS).items()}

    def __contains__(self, user: str) -> bool:
        return user in self._own or user in self._made

    def credentials(self, user: str) -> Credentials | None:
        """See `AccountStore`."""
        return self._own.credentials(user) or self._made.get(user)

    def set_password(self, user: str, password: str) -> None:
        """See `AccountStore`. An own account has its new password until the server is started anew."""
        if user in self._own:
            self._own.set_password(user, password)
            return
        made = derive(password)
        record = {
            "salt": made.salt.hex(),
            "iterations": made.iterations,
            "keys": {name: [keys.stored.hex(), keys.server.hex()] for name, keys in made.keys.items()},
        }
        with _as_the_server_wants():
            self._records.put(ACCOUNTS, user, json.dumps(record))
        self._made[user] = made

    def remove(self, user: str) -> None:
        """See `AccountStore`."""
        self._own.remove(user)
        if self._made.pop(user, None) is not None:
            with _as_the_server_wants():
                self._records.remove(ACCOUNTS, user)


def _credentials(text: str) -> Credentials:
    record: dict[str, Any] = json.loads(text)
    keys = {
        name: Keys(bytes.fromhex(stored), bytes.fromhex(server))
        for name, (stored, server) in record["keys"].items()
    }
    return Credentials(bytes.fromhex(record["salt"]), record["iterations"], keys)


class RecordedOffline(MemoryOffline):
    """`OfflineStore`.

    Taken messages are removed one by one, so after a crash meanwhile some are delivered twice: agents
    drop second copies, and a message lost would be worse.
    """

    def __init__(self, records: Records) -> None:
        super().__init__()
        self._records = records
        self._keys: defaultdict[str, list[str]] = defaultdict(list)
        self._last = 0
        for key, stanza in records.all(OFFLINE).items():
            user, _slash, number = key.rpartition("/")
            self._keys[user].append(key)
            super().append(user, stanza)
            self._last = max(self._last, int(number))

    def append(self, user: str, stanza_xml: str) -> None:
        """See `OfflineStore`."""
        key = f"{user}/{self._last + 1:016d}"
        with _as_the_server_wants():
            self._records.put(OFFLINE, key, stanza_xml)
        self._last += 1
        self._keys[user].append(key)
        super().append(user, stanza_xml)

    def take(self, user: str) -> list[str]:
        """See `OfflineStore`."""
        with _as_the_server_wants():
            for key in self._keys.get(user, ()):
                self._records.remove(OFFLINE, key)
        self._keys.pop(user, None)
        return super().take(user)


class RecordedRosters(MemoryRosters):
    """`RosterStore`."""

    def __init__(self, records: Records) -> None:
        super().__init__()
        self._records = records
        for key, text in records.all(ROSTERS).items():
            facts = json.loads(text)
            super().put(key.partition("/")[0], Item(**{**facts, "groups": tuple(facts["groups"])}))

    def put(self, user: str, item: Item) -> None:
        """See `RosterStore`."""
        with _as_the_server_wants():
            self._records.put(ROSTERS, f"{user}/{item.jid}", json.dumps(asdict(item)))
        super().put(user, item)

    def remove(self, user: str, jid: str) -> None:
        """See `RosterStore`."""
        with _as_the_server_wants():
            self._records.remove(ROSTERS, f"{user}/{jid}")
        super().remove(user, jid)
