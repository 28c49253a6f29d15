"""From words on a command line to terms and messages; what cannot be said is a `MisuseError`."""

from __future__ import annotations

import hashlib
import json
import math
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ontology.acl import AclMessage, Performative
from ontology.codecs import build, read_agent, read_time
from ontology.errors import ContentError, MessageError
from ontology.models import DatasetRef
from ontology.tasks import LEARNING, Predict, Train
from society.config import SocietyFile
from society.errors import MisuseError, TableError

A_NAME = "write letters, digits, dots, hyphens and underscores, a letter or digit first, at most 100"


def names(given: Sequence[str]) -> list[str]:
    """Take names apart that are separated by commas."""
    return [name for each in given for name in each.split(",") if name]


def task(data: Path, folder: Path, wishes: Mapping[str, Any]) -> Train:
    """Make a training task that tells of its progress.

    Args:
        data: the file, as the user named it: from the working directory, or else from the data folder.
        folder: the data folder.
        wishes: arguments of `Train` by name; None for its default.

    Raises:
        TableError: the file is not there, or lies outside the data folder.
        MisuseError: a wish is out of range; the sentence names the option.
    """
    given = {name: value for name, value in wishes.items() if value is not None}
    for name, value in given.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise MisuseError(f"--{name.replace('_', '-')}: write a finite number, not {value}")
    dataset = reference(data, folder)
    asked = {"model": model_name(data), **given, "dataset": dataset.model_dump(), "notify": True}
    try:
        term = LEARNING.parse(json.dumps({Train.tag: asked}))
    except ContentError as error:
        argument, _colon, fault = error.text.removeprefix(f"{Train.tag}.").partition(": ")
        if argument == "model":
            fault = f"{A_NAME}, not {asked['model']!r}"
        raise MisuseError(f"--{argument.partition('.')[0].replace('_', '-')}: {fault}") from error
    assert isinstance(term, Train)  # noqa: S101 - it is read by its tag
    return term


def label(model: str) -> str:
    """Take the label of a model.

    Raises:
        MisuseError: no model can have it.
    """
    try:
        LEARNING.parse(json.dumps({Predict.tag: {"model": model, "rows": [[0]]}}))
    except ContentError as error:
        raise MisuseError(f"MODEL: {A_NAME}, and :VERSION behind it if need be, not {model!r}") from error
    return model


def reference(path: Path, folder: Path) -> DatasetRef:
    """Refer to a dataset in a way that learners with the same data folder understand.

    Raises:
        TableError: it is not there, or lies outside the data folder.
    """
    whole = path.resolve() if path.exists() or path.is_absolute() else (folder / path).resolve()
    if not whole.is_file():
        raise TableError(f"{path}: there is no such file, neither here nor in the data folder {folder}")
    if not whole.is_relative_to(folder.resolve()):
        raise TableError(
            f"{path}: it lies outside the data folder {folder}, where learners look; copy it there, or set "
            "data in [society]"
        )
    try:
        with whole.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise TableError(f"{path}: it cannot be read: {error.strerror}") from error
    return DatasetRef(uri=whole.relative_to(folder.resolve()).as_posix(), sha256=digest)


def model_name(data: Path) -> str:
    """A name for a model from that of a file: what may not stand in one becomes a hyphen."""
    fit = (each if each.isascii() and (each.isalnum() or each in "._-") else "-" for each in data.stem)
    return "".join(fit).lstrip("._-")[:100] or "model"


def message(
    file: SocietyFile, to: Sequence[str], performative: str, content: str, parameters: Mapping[str, Any]
) -> AclMessage:
    """Make any ACL message.

    Args:
        file: the society, whose domain completes names.
        to: the receivers, by JID or by name.
        performative: one of the 22 acts.
        content: taken as it is.
        parameters: the other parameters of `AclMessage` as text; None or empty for those that are not
            given. Without a conversation-id or reply-with a new one is made; an empty one leaves it out.

    Raises:
        MisuseError: a parameter is malformed, or there is no such act.
    """
    if performative.lower() not in set(Performative):
        raise MisuseError(f"{performative!r} is none of the 22 acts of FIPA00037: {', '.join(Performative)}")
    given = dict(parameters)
    reply_by, reply_to, user = (given.pop(name, None) for name in ("reply_by", "reply_to", "user"))
    for name in ("conversation_id", "reply_with"):
        if given.get(name) is None:
            given[name] = uuid.uuid4().hex
    fields: dict[str, Any] = {name: value for name, value in given.items() if value}
    try:
        fields["sender"] = read_agent("sender", file.jid(file.society.operator))
        fields["receiver"] = [read_agent("receiver", file.jid(name)) for name in to]
        fields["reply_to"] = [read_agent("reply-to", file.jid(name)) for name in reply_to or ()]
        if reply_by:
            fields["reply_by"] = _seconds_from_now(reply_by) or read_time(reply_by)
        fields["user_parameters"] = dict(_user_parameter(each) for each in user or ())
        return build(performative.lower(), {**fields, "content": content})
    except MessageError as error:
        raise MisuseError(error.text) from error


def _seconds_from_now(text: str) -> datetime | None:
    try:
        return datetime.now(UTC) + timedelta(seconds=float(text))
    except (ValueError, OverflowError):
        return None


def _user_parameter(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise MisuseError(f"-X {text!r}: write -X NAME=VALUE")
    return (name if name.startswith("X-") else f"X-{name}"), value
