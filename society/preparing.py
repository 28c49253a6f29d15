"""Making a society's secrets before anything of it runs, as for an XMPP server that is not ours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from society.config import SocietyFile
from society.errors import StateError
from society.state import StateFolder
from society.xmpp_server import AuthorityError, CertificateAuthority


def prepare(file: SocietyFile, servers: Sequence[str]) -> Iterable[tuple[str, Path]]:
    """Make what is not there yet, and keep what is: a password for each account, and the certificates.

    Args:
        file: the society.
        servers: DNS names and addresses that the XMPP server is called by; its domain is added. With none
            it gets no certificate.

    Returns:
        What there is now, and where.

    Raises:
        StateError: the state folder cannot be used, or what it holds is damaged.
    """
    state = StateFolder(file.society.state)
    state.prepare()
    state.passwords([file.society.operator, *(agent.name for agent in file.agents)])
    made = [("passwords", state.password_file)]
    if servers:
        try:
            authority = CertificateAuthority.open(state.certificates)
            made += [
                ("authority", authority.file),
                ("certificate", authority.server_file([file.society.domain, *servers])),
            ]
        except AuthorityError as error:
            raise StateError(str(error)) from error
    return made
