"""Who of several has something: consistent hashing by the highest random weight (Thaler, Ravishankar, 1998).

Everybody who knows the same names comes to the same order, in any process, and needs no ring and no table.
Where one name comes or goes only what it has, or had, moves.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256


def ranked(key: str, names: Iterable[str]) -> list[str]:
    """Order names by their claim to a key: the first one has it, and the next one where that is gone.

    Args:
        key: what is to be shared out, a conversation-id for instance.
        names: who there is; one that comes twice counts once, and their order does not matter.
    """

    def weight(name: str) -> tuple[bytes, str]:
        # The length keeps a key and a name from being taken for another key and another name.
        return sha256(f"{len(key)}:{key}{name}".encode()).digest(), name

    return sorted(set(names), key=weight, reverse=True)
