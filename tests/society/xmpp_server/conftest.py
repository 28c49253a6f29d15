from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from society.xmpp_server import CertificateAuthority, XmppServer

PASSWORDS = {"alice": "secret", "bob": "secret", "carol": "secret"}
Start = Callable[..., Awaitable[XmppServer]]


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    return CertificateAuthority.open(Path(tmp_path_factory.mktemp("authority")))


@pytest.fixture
async def start(authority: CertificateAuthority) -> AsyncIterator[Start]:
    """Start servers that stop with the test."""
    async with AsyncExitStack() as stack:

        async def make(**settings: Any) -> XmppServer:
            settings.setdefault("passwords", PASSWORDS)
            settings.setdefault("authority", authority)
            return await stack.enter_async_context(XmppServer(**settings))

        yield make


@pytest.fixture
async def server(start: Start) -> XmppServer:
    return await start()
