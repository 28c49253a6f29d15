"""Ids of messages and conversations: nobody else's, and in the order of their making."""

from __future__ import annotations

import time
import uuid


def new_id() -> str:
    """Make an id: milliseconds since the epoch, then 74 random bits, in 32 hexadecimal digits.

    What came about together stands together in a store that files it by its id, so that a transaction
    touches few pages of it: the reason for UUID version 7 (RFC 9562, 5.7). Its clock need not be right.
    """
    return f"{int(time.time() * 1000):012x}7{uuid.uuid4().hex[13:]}"
