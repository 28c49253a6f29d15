"""What a server means that ends a session or gives us none, in a sentence that says how to mend it."""

from __future__ import annotations


def end_for_good(condition: str, jid: str) -> str | None:
    """Why a session that was ended so cannot come back; None where it can (RFC 6120, 4.9.3).

    Args:
        condition: the stream error's.
        jid: whose session it was.
    """
    bare, _slash, _resource = jid.partition("/")
    match condition:
        case "conflict":
            # 7.7.2.2, case 3. Were we to come back, it would be the other's turn, and so on.
            return (
                f"{jid}: another process has logged in under this name (conflict), and of two the server "
                "keeps the newer; stop one of them, or give each a replica name of its own"
            )
        case "host-unknown":
            return f"{bare}: the server does not serve {bare.partition('@')[2]}"
    return None


def no_session(jid: str, address: tuple[str, int], within: float, why: str) -> str:
    """Why an agent could not log in.

    Args:
        jid: who.
        address: host and port of the server.
        within: seconds.
        why: what was heard of the server last; "" for nothing.
    """
    host, port = address
    return f"{jid}: no session with {host}:{port} within {within:g} s: {why or 'it did not answer'}"


def no_resource(resource: str, condition: str, text: str) -> str:
    """Why a server did not let us have a resource (RFC 6120, 7.6.2 and 7.7.2)."""
    told = f"the server refuses the resource {resource!r}: {condition}" + (f" ({text})" if text else "")
    if condition != "conflict":
        return told
    # 7.7.2.2, case 2. After a kill the older one may be our own.
    return (
        f"{told}; it keeps an older session of that name, which may be dead: have it keep the newer one "
        '(Prosody: conflict_resolve = "kick_old"), or choose another name'
    )
