"""An XMPP server small enough to read: for societies on one machine, and for tests.

In production, across machines, run Prosody or ejabberd. This one has no server-to-server streams and no group
chat, and keeps accounts, rosters and waiting messages where it is told to: in memory, unless given a store.
What it has follows RFC 6120, RFC 6121 and RFC 7622; for topics with many readers there is a small
publish-subscribe service at ``pubsub.<domain>`` (XEP-0060, see `pubsub`), and for connections that break
there is stream management (XEP-0198, see `lasting`), in memory only.

    bytes -> connection -> secure (TLS) -> stream (XML) -> negotiation, then router -> switchboard -> bytes
"""

from .accounts import AccountStore, Credentials, Keys, MemoryAccounts, derive
from .errors import (
    AuthorityError,
    JidError,
    ListenError,
    PasswordError,
    StanzaError,
    StoreError,
    StreamError,
    XmppServerError,
)
from .faults import Action, Interceptor, Line, Passage, ScriptedFaults, SeededFaults
from .jid import Jid
from .limits import Limits
from .offline import MemoryOffline, OfflineStore
from .pubsub_nodes import MemoryNodes, NodeStore
from .rosters import MemoryRosters, RosterStore
from .server import XmppServer
from .tls import CertificateAuthority

__all__ = [
    # the server
    "XmppServer",
    "CertificateAuthority",
    "Limits",
    # its stores: ports and their in-memory bindings
    "AccountStore",
    "MemoryAccounts",
    "Credentials",
    "Keys",
    "derive",
    "OfflineStore",
    "MemoryOffline",
    "RosterStore",
    "MemoryRosters",
    "NodeStore",
    "MemoryNodes",
    # faults for tests
    "Interceptor",
    "Passage",
    "Line",
    "Action",
    "ScriptedFaults",
    "SeededFaults",
    # addresses and errors
    "Jid",
    "XmppServerError",
    "StreamError",
    "StanzaError",
    "JidError",
    "PasswordError",
    "StoreError",
    "AuthorityError",
    "ListenError",
]
