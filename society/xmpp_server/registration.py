"""Making, changing and removing accounts over XMPP (XEP-0077). Closed unless the server's owner opens it."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from .accounts import AccountStore
from .errors import JidError, PasswordError, StanzaError
from .jid import prepare_local

REGISTER = "jabber:iq:register"
FEATURE = '<register xmlns="http://jabber.org/features/iq-register"/>'
_QUERY = f"{{{REGISTER}}}"


class Registration:
    """XEP-0077 for one server. The result's content is returned; a StanzaError is the answer otherwise."""

    def __init__(self, accounts: AccountStore, *, is_open: bool) -> None:
        self._accounts = accounts
        self.is_open = is_open

    def form(self, user: str | None) -> str:
        """Say what is needed (§3.1), or that this account is registered."""
        self._check_open()
        if user is not None:
            return f'<query xmlns="{REGISTER}"><registered/><username>{user}</username><password/></query>'
        return (
            f'<query xmlns="{REGISTER}"><instructions>Choose a user name and a password.</instructions>'
            "<username/><password/></query>"
        )

    def create(self, query: ET.Element) -> str:
        """Make an account (§3.1) for somebody who is not logged in; return its name."""
        self._check_open()
        if query.find(f"{_QUERY}remove") is not None:
            raise StanzaError("not-authorized", "log in to remove your account")
        username = query.findtext(f"{_QUERY}username") or ""
        try:
            user = prepare_local(username)
        except JidError as error:
            raise StanzaError("not-acceptable", f"the user name is unusable: {error.reason}") from error
        if user in self._accounts:
            raise StanzaError("conflict", "there is such an account already")
        self._set(user, query)
        return user

    def change(self, user: str, query: ET.Element) -> bool:
        """Change the password of somebody logged in (§3.3). True: the account is to be removed (§3.2)."""
        self._check_open()
        if query.find(f"{_QUERY}remove") is not None:
            if len(query) != 1:
                raise StanzaError("bad-request", "<remove/> stands alone")
            return True
        try:
            named = prepare_local(query.findtext(f"{_QUERY}username") or "")
        except JidError as error:
            raise StanzaError("bad-request", "the user name is missing") from error
        if named != user:
            raise StanzaError("not-allowed", "this is not your account")
        self._set(user, query)
        return False

    def _set(self, user: str, query: ET.Element) -> None:
        try:
            self._accounts.set_password(user, query.findtext(f"{_QUERY}password") or "")
        except PasswordError as error:
            raise StanzaError("not-acceptable", f"the password is unusable: {error}") from error

    def _check_open(self) -> None:
        if not self.is_open:
            raise StanzaError("not-allowed", "this server registers nobody")
