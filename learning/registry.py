"""The folder that keeps models: numbered versions, weights as safetensors, everything else as JSON.

::

    <folder>/<name>/<version>/model.safetensors    the weights
                              manifest.json        the model's card, the weights' digest, its own digest

A version is written in a folder of its own, ``.new-<n>``, brought to the disk, and renamed into place. The
rename fails where the version exists already, so writers in several processes get different numbers without
a lock, and no reader ever sees half a version. Nothing is pickled: safetensors holds tensors only.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_tensors
from safetensors.torch import save as render_tensors
from torch import Tensor, nn

from learning.datasets import listed
from learning.errors import ModelDamagedError, ModelError, ModelNotFoundError, NoRoomError
from learning.models import LoadedModel, Model, ModelCard
from learning.networks import build
from learning.stepping import memory_of
from ontology.models import ModelVersion

WEIGHTS = "model.safetensors"
MANIFEST = "manifest.json"
LEAST_ROOM = 1_000_000
"""Bytes that are looked for before a model is trained, whose size nobody knows then, and beside one that
did not fit: a disk gives room in blocks."""

FORMAT = 1
"""The manifest's version; a reader refuses a newer one."""

_LABEL = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]{0,99})(:(?P<version>[1-9][0-9]{0,8}))?")


class ModelStore:
    """Models in a folder that several processes may share."""

    def __init__(self, folder: str | Path) -> None:
        """Take the folder; it is made when the first model is saved."""
        self.folder = Path(folder)

    def save(self, model: Model, *, now: datetime) -> ModelVersion:
        """Keep a model as the next version of its name. Atomic: whole or not at all, even if the power fails.

        Args:
            model: what was trained.
            now: when it was made; aware.

        Raises:
            ModelError: the folder cannot be written, or the network holds something else than tensors.
            NoRoomError: its disk is full.
            ValueError: `now` has no time zone.
        """
        if now.tzinfo is None:
            raise ValueError("now must be aware")
        name = model.card.name
        weights = render_tensors(_tensors(model.network, name))
        sha256 = hashlib.sha256(weights).hexdigest()
        manifest = _sealed(
            {
                "format": FORMAT,
                "sha256": sha256,
                "created": now.isoformat(),
                "model": model.card.model_dump(mode="json"),
            }
        )
        try:
            home = self.folder / name
            home.mkdir(parents=True, exist_ok=True)
            draft = _first(lambda number: _made(home / f".new-{os.getpid()}-{number}"), 0)
            try:
                _write(draft / WEIGHTS, weights)
                _write(draft / MANIFEST, manifest)
                _sync(draft)
                place = _first(
                    lambda number: _renamed(draft, home / str(number)),
                    max(self.versions(name), default=0) + 1,
                )
            except BaseException:
                shutil.rmtree(draft, ignore_errors=True)
                raise
            _sync(home)
            _sync(self.folder)
        except OSError as error:
            raise self._unkept(name, error, LEAST_ROOM + len(weights) + len(manifest)) from error
        return _version(model.card, int(place.name), place, sha256, now)

    def check(self, name: str, room: int = LEAST_ROOM) -> None:
        """Look whether a model could be kept now, before it is trained for nothing; this makes the folder.

        Args:
            name: the model's.
            room: its bytes, or how many there should be at least.

        Raises:
            ModelError: it could not.
            NoRoomError: because the disk is full.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder) as probe:
                for _each in range(0, room, LEAST_ROOM):
                    probe.write(bytes(min(room, LEAST_ROOM)))
        except OSError as error:
            raise self._unkept(name, error, room) from error

    def _unkept(self, name: str, error: OSError, room: int) -> ModelError:
        told = f"it cannot be kept in {self.folder}: {error.strerror}"
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            return NoRoomError(name, f"{told}; make room there, at least {room:,} bytes", room=room)
        return ModelError(name, told)

    def load(self, label: str, *, device: torch.device | None = None) -> LoadedModel:
        """Load a model. Its weights are compared with their digest before they are parsed.

        Args:
            label: ``name`` for the newest version, or ``name:version``.
            device: where it will answer; the CPU by default.

        Raises:
            ModelNotFoundError: it is not there; the sentence names what is.
            ModelDamagedError: its files are not what was saved.
            NetworkError: its network is not registered here.
            DeviceError: the device's memory is too small.
        """
        version, card, weights = self._read(label)
        network = build(card.network, card.inputs, card.outputs, seed=0)
        try:
            network.load_state_dict(parse_tensors(weights))
        except SafetensorError as error:
            raise ModelDamagedError(version.label, f"{WEIGHTS} is no safetensors file: {error}") from error
        except RuntimeError as error:  # load_state_dict names every key that does not fit, on many lines
            raise ModelDamagedError(
                version.label,
                f"its weights do not fit the network {card.network!r}; was the factory changed?",
            ) from error
        device = device or torch.device("cpu")
        with memory_of(device):
            return LoadedModel(card=card, network=network.eval().to(device), version=version)

    def describe(self, label: str) -> ModelVersion:
        """What agents say about a model, without loading its weights; they are checked all the same.

        Raises:
            ModelNotFoundError: it is not there.
            ModelDamagedError: its files are not what was saved.
        """
        return self._read(label)[0]

    def names(self) -> tuple[str, ...]:
        """The names of all models, sorted."""
        if not self.folder.is_dir():
            return ()
        found = (path.name for path in self.folder.iterdir() if path.is_dir())
        return tuple(sorted(name for name in found if self.versions(name)))

    def versions(self, name: str) -> tuple[int, ...]:
        """The versions of a model in ascending order; none if there is no such model."""
        if _LABEL.fullmatch(name) is None:
            return ()
        home = self.folder / name
        if not home.is_dir():
            return ()
        found = (path.name for path in home.iterdir())
        return tuple(sorted(int(each) for each in found if re.fullmatch(r"[1-9][0-9]{0,8}", each)))

    def _find(self, label: str) -> tuple[str, int]:
        matched = _LABEL.fullmatch(label)
        if matched is None:
            raise ModelNotFoundError(label, "this is no label; write 'name' or 'name:version'")
        name, wanted = matched["name"], matched["version"]
        versions = self.versions(name)
        if not versions:
            raise ModelNotFoundError(label, f"there is no such model; there are: {listed(self.names())}")
        if wanted is None:
            return name, versions[-1]
        if int(wanted) not in versions:
            raise ModelNotFoundError(
                label, f"there is no such version; {name} has {listed([str(each) for each in versions])}"
            )
        return name, int(wanted)

    def _read(self, label: str) -> tuple[ModelVersion, ModelCard, bytes]:
        name, number = self._find(label)
        place, told = self.folder / name / str(number), f"{name}:{number}"
        try:
            manifest, weights = _content(place / MANIFEST), _content(place / WEIGHTS)
        except OSError as error:
            missing = Path(str(error.filename)).name
            raise ModelDamagedError(
                told, f"{missing} cannot be read: {error.strerror}; train it again"
            ) from error
        fields = _unsealed(manifest, told)
        try:
            card = ModelCard.model_validate_json(json.dumps(fields["model"]))
            created = datetime.fromisoformat(fields["created"])
            sha256 = str(fields["sha256"])
        except (KeyError, RecursionError, TypeError, ValueError) as error:
            raise ModelDamagedError(told, f"{MANIFEST} is no model's manifest; train it again") from error
        if hashlib.sha256(weights).hexdigest() != sha256:
            raise ModelDamagedError(told, f"{WEIGHTS} is not what {MANIFEST} says (sha256); train it again")
        return _version(card, number, place, sha256, created), card, weights


def _tensors(network: nn.Module, name: str) -> dict[str, Tensor]:
    """The network's state on the CPU; weights that are tied are written twice, and tied again by loading."""
    tensors: dict[str, Tensor] = {}
    for key, value in network.state_dict().items():
        if not isinstance(value, Tensor):
            raise ModelError(name, f"the network's state {key!r} is no tensor and cannot be kept")
        tensors[key] = value.detach().to("cpu", copy=True).contiguous()
    return tensors


def _sealed(fields: dict[str, Any]) -> bytes:
    """A manifest with its own digest in it, so that a change by hand does not go unnoticed."""
    return json.dumps({**fields, "manifest_sha256": _seal(fields)}, indent=2, ensure_ascii=False).encode()


def _unsealed(manifest: bytes, label: str) -> dict[str, Any]:
    try:
        fields = json.loads(manifest)
        is_sealed = isinstance(fields, dict) and fields.pop("manifest_sha256", None) == _seal(fields)
    except (ValueError, RecursionError) as error:
        raise ModelDamagedError(label, f"{MANIFEST} is not JSON; train it again") from error
    if not is_sealed:
        raise ModelDamagedError(label, f"{MANIFEST} was changed after it was written; train it again")
    if fields.get("format") != FORMAT:
        raise ModelDamagedError(
            label,
            f"{MANIFEST} has the format {fields.get('format')!r}; this version of Locution reads {FORMAT}",
        )
    whole: dict[str, Any] = fields
    return whole


def _seal(fields: object) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def _version(card: ModelCard, number: int, place: Path, sha256: str, created: datetime) -> ModelVersion:
    return ModelVersion(
        name=card.name,
        version=number,
        uri=(place / WEIGHTS).absolute().as_uri(),
        sha256=sha256,
        data_sha256=card.data_sha256,
        network=card.network,
        kind=card.kind,
        metrics=card.metrics,
        created=created,
        code_version=card.code_version,
    )


def _first(attempt: Callable[[int], Path | None], start: int) -> Path:
    """Try numbers from `start` until one is free."""
    return next(found for number in count(start) if (found := attempt(number)) is not None)


def _made(path: Path) -> Path | None:
    try:
        path.mkdir()
    except FileExistsError:
        return None
    return path


def _renamed(draft: Path, place: Path) -> Path | None:
    """Rename a folder unless the place is taken: rename(2) replaces no folder that holds something."""
    try:
        draft.rename(place)
    except OSError as error:
        if error.errno in {errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR}:
            return None
        raise
    return place


def _content(path: Path) -> bytes:
    """Read a regular file. To open a pipe in the usual way would wait for a writer for ever."""
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        return stream.read()


def _write(path: Path, content: bytes) -> None:
    with path.open("xb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _sync(folder: Path) -> None:
    """Bring a folder's entries to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
