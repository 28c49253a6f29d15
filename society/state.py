"""The state folder of a society: what its processes share on one machine, and what they must remember.

::

    <state>/passwords.json     account name to password; mode 0600, made on first start
            keys.json          account name to the secret key that it signs with; likewise, where one does
            certificates/      the embedded server's authority and certificate
            society.sqlite     directory, accounts, waiting messages, dead letters
            models/            what learners have trained
            running/<name>     held by the process that runs the agent; <name>@<replica> by that of another
                               replica than main

A password may also come from the environment: ``LOCUTION_PASSWORD_LEARNER_1`` for the agent learner-1.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from behaviours.signing import SigningKey
from society.errors import NotRunningError, RunsAlreadyError, StateError

PASSWORD_VARIABLE = "LOCUTION_PASSWORD_"  # noqa: S105 - the name of a variable
"""Environment variables of passwords begin so; the account's name follows in capitals."""


class StateFolder:
    """The state folder, which is made by `prepare`."""

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        """Take the folder; nothing is read or written yet.

        Args:
            folder: where it is or will be.
            environment: where passwords may come from; by default the process's.
        """
        self.folder = folder
        self._environment = os.environ if environment is None else environment
        self._held: dict[str, int] = {}

    @property
    def certificates(self) -> Path:
        """The folder of the embedded server's authority."""
        return self.folder / "certificates"

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.folder / "society.sqlite"

    def prepare(self) -> None:
        """Make the folder, for this user only; one of this user's that others may read is closed to them.

        Raises:
            StateError: it cannot be made or written.
        """
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = self.folder.stat()
            is_common = bool(found.st_mode & stat.S_ISVTX)  # everybody's, even where its owner runs this
            if found.st_mode & 0o077 and found.st_uid == os.geteuid() and not is_common:
                self.folder.chmod(0o700)
            with tempfile.TemporaryFile(dir=self.folder):
                pass
        except OSError as error:
            raise self._unusable(error) from error

    def passwords(self, names: Iterable[str]) -> dict[str, str]:
        """The passwords of these accounts; those that are nowhere yet are made and kept.

        Processes that start at once agree, as whoever makes one holds the folder's lock.

        Raises:
            StateError: the file cannot be read or written.
        """
        names = tuple(names)
        wanted = [name for name in names if self._from_environment(name) is None]
        known = self._completed(self.password_file, wanted, lambda: secrets.token_urlsafe(24))
        return {name: self._from_environment(name) or known[name] for name in names}

    def keys(self, names: Iterable[str]) -> dict[str, SigningKey]:
        """The keys that these accounts sign with; those that are not there yet are made and kept.

        Raises:
            StateError: the file cannot be read or written, or holds something else.
        """
        names = tuple(names)
        known = self._completed(self._key_file, names, SigningKey.new)
        return {name: self._key(name, known[name]) for name in names}

    def public_keys(self) -> dict[str, str]:
        """The public keys of all accounts that have signed from this folder, by name.

        Raises:
            StateError: the file cannot be read, or holds something else.
        """
        try:
            kept = self._kept(self._key_file)
        except OSError as error:
            raise self._unusable(error) from error
        return {name: self._key(name, secret).public for name, secret in kept.items()}

    def keys_changed(self) -> tuple[int, int]:
        """Tell whether `public_keys` may be others than before: numbers that change with the file."""
        try:
            found = self._key_file.stat()
        except OSError:
            return 0, 0
        return found.st_mtime_ns, found.st_ino  # it is replaced as a whole

    def password(self, name: str) -> str:
        """The password of an account that exists already, as a client wants it.

        Raises:
            NotRunningError: it is nowhere, so the society has never been started here.
            StateError: the file cannot be read.
        """
        given = self._from_environment(name)
        if given is not None:
            return given
        try:
            return self._kept(self.password_file)[name]
        except KeyError:
            raise NotRunningError(
                f"there is no password of {name} in {self.password_file}: the society has not been started "
                f"here yet (locution up), or set {variable_of(name)}"
            ) from None
        except OSError as error:
            raise self._unusable(error) from error

    def claim(self, name: str) -> None:
        """Hold an agent, or one replica of it, for this process until it ends: of two the server keeps one.

        One that is held already stays so. Containers of one machine see each other's claims where they share
        the folder.

        Raises:
            RunsAlreadyError: another process runs it.
            StateError: the folder cannot be used.
        """
        if name in self._held:
            return
        path = self.folder / "running" / name
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._unusable(error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 20).decode(errors="replace").strip()
            os.close(descriptor)
            raise RunsAlreadyError(
                f"{name} runs already, in process {holder or 'unknown'}: stop that one, leave it out here, "
                "or run it once more under a name of its own (--replica NAME)"
            ) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._held[name] = descriptor

    def holder(self, name: str) -> str | None:
        """The number of the process that runs an agent; None where none does."""
        try:
            descriptor = os.open(self.folder / "running" / name, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return os.read(descriptor, 20).decode(errors="replace").strip() or "unknown"
        finally:
            os.close(descriptor)
        return None

    def release(self, *names: str) -> None:
        """Let go of agents that were claimed, by default of every one."""
        for name in names or tuple(self._held):
            descriptor = self._held.pop(name, None)
            if descriptor is not None:
                os.close(descriptor)

    @property
    def password_file(self) -> Path:
        """The passwords by account, as JSON."""
        return self.folder / "passwords.json"

    @property
    def _key_file(self) -> Path:
        return self.folder / "keys.json"

    def _key(self, name: str, secret: str) -> SigningKey:
        try:
            return SigningKey(secret)
        except ValueError as error:
            raise StateError(
                f"{self._key_file}: what stands there for {name} is no key; remove the entry for a new one"
            ) from error

    def _from_environment(self, name: str) -> str | None:
        return self._environment.get(variable_of(name)) or None

    def _completed(self, path: Path, names: Iterable[str], make: Callable[[], str]) -> dict[str, str]:
        """The secrets of a file, after those of these names that it had not are made and kept."""
        try:
            with self._locked():
                kept = self._kept(path)
                new = {name: make() for name in names if name not in kept}
                if new:
                    _write(path, json.dumps({**kept, **new}, indent=1))
        except OSError as error:
            raise self._unusable(error) from error
        return {**kept, **new}

    def _kept(self, path: Path) -> dict[str, str]:
        try:
            if path.stat().st_mode & 0o077:
                path.chmod(0o600)
            kept = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (ValueError, RecursionError):
            kept = None
        if not isinstance(kept, dict) or not all(isinstance(each, str) for each in kept.values()):
            raise StateError(
                f"{path} is no JSON object of names and {path.stem}; mend it, or remove it for new ones"
            )
        for name, password in kept.items():
            if not password:
                raise StateError(
                    f"{path}: the {path.stem[:-1]} of {name} is empty; write one, or remove the entry for a "
                    "new one"
                )
        return kept

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _unusable(self, error: OSError) -> StateError:
        told = error.strerror or str(error)
        return StateError(f"the state folder {self.folder} cannot be used: {told}; mend it, or name another")


def variable_of(name: str) -> str:
    """The environment variable of an account's password."""
    return PASSWORD_VARIABLE + re.sub(r"[^A-Z0-9]", "_", name.upper())


def _write(path: Path, text: str) -> None:
    """Put a secret in place as a whole, never readable by others."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # made with mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
