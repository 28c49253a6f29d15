from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import learning.networks
from learning.errors import ModelDamagedError, ModelError, ModelNotFoundError, NetworkError, NoRoomError
from learning.inference import predict
from learning.models import TrainedModel
from learning.networks import register_network
from learning.registry import LEAST_ROOM, ModelStore
from learning.training import train
from tests.learning.samples import blobs, slope, task

NOW = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)
ROWS: list[list[float]] = [[0.1, 2, -1, 3], [4, 0, 0, 0]]


@pytest.fixture(scope="module")
def model() -> TrainedModel:
    return train(task(model="zoo", epochs=3), blobs())


def test_what_was_saved_is_loaded(tmp_path: Path, model: TrainedModel) -> None:
    version = ModelStore(tmp_path / "models").save(model, now=NOW)
    assert (version.label, version.created, version.network, version.kind) == (
        "zoo:1",
        NOW,
        "mlp",
        "classification",
    )
    assert version.metrics == model.metrics
    assert version.data_sha256 == model.card.data_sha256
    weights = Path(urlsplit(version.uri).path)
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == version.sha256
    assert (weights.parent / "manifest.json").exists()

    loaded = ModelStore(tmp_path / "models").load("zoo")
    assert loaded.version == version == ModelStore(tmp_path / "models").describe("zoo:1")
    assert loaded.card == model.card
    assert predict(loaded, ROWS) == predict(model, ROWS)


def test_a_regression_and_labels_of_every_kind_come_back(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    number = train(task(kind="regression", model="slope"), slope())
    store.save(number, now=NOW)
    assert predict(store.load("slope"), [[1, 2]]) == predict(number, [[1, 2]])
    for classes in (("1", "2"), (1, 2), (0.5, 1.5)):
        store.save(train(task(epochs=1), blobs(classes=classes)), now=NOW)
        labels = store.load("model").card.labels
        assert labels == classes
        assert [type(label) for label in labels] == [type(label) for label in classes]


def test_versions_count_up(tmp_path: Path, model: TrainedModel) -> None:
    store = ModelStore(tmp_path)
    assert (store.names(), store.versions("zoo")) == ((), ())
    assert [store.save(model, now=NOW).version for _ in range(11)] == list(range(1, 12))
    assert store.load("zoo").version.version == 11
    assert store.load("zoo:2").version.version == 2
    assert (store.names(), store.versions("zoo")) == (("zoo",), tuple(range(1, 12)))
    assert sorted(path.name for path in (tmp_path / "zoo" / "3").iterdir()) == [
        "manifest.json",
        "model.safetensors",
    ]


@pytest.mark.parametrize(
    ("label", "sentence"),
    [
        ("bird", r"model 'bird': there is no such model; there are: zoo$"),
        ("zoo:3", r"model 'zoo:3': there is no such version; zoo has 1, 2$"),
        ("zoo:0", "this is no label; write 'name' or 'name:version'"),
        ("../zoo", "this is no label"),
        ("zoo/1", "this is no label"),
        ("", "this is no label"),
        ("zoo\n", "this is no label"),
    ],
)
def test_what_is_not_there_names_what_is(
    tmp_path: Path, model: TrainedModel, label: str, sentence: str
) -> None:
    store = ModelStore(tmp_path)
    for _ in range(2):
        store.save(model, now=NOW)
    with pytest.raises(ModelNotFoundError, match=sentence):
        store.load(label)


def test_an_empty_store(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="there is no such model; there are: none"):
        ModelStore(tmp_path / "none").load("zoo")


def test_processes_that_save_at_once_get_different_versions(tmp_path: Path) -> None:
    code = f"""
from datetime import datetime, UTC
from learning.registry import ModelStore
from learning.training import train
from tests.learning.samples import blobs, task
import sys
model = train(task(model="zoo", epochs=1, seed=int(sys.argv[1])), blobs())
print("ready", flush=True)
sys.stdin.readline()
for _ in range(20):
    version = ModelStore({str(tmp_path)!r}).save(model, now=datetime.now(UTC))
    print(version.version, version.sha256)
"""
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(seed)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for seed in range(2)
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    told = [writer.communicate()[0].split() for writer in writers]
    said = {
        int(number): sha256 for lines in told for number, sha256 in zip(lines[::2], lines[1::2], strict=True)
    }
    store = ModelStore(tmp_path)
    assert sorted(said) == list(range(1, 41)) == list(store.versions("zoo"))
    assert {number: store.describe(f"zoo:{number}").sha256 for number in said} == said
    assert len(set(said.values())) == 2
    assert not [path for path in (tmp_path / "zoo").iterdir() if path.name.startswith(".")]


def test_a_write_that_fails_leaves_nothing(
    tmp_path: Path, model: TrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ModelError, match=r"model 'zoo': it cannot be kept in .*: No space left on device"):
        ModelStore(tmp_path).save(model, now=NOW)
    assert list((tmp_path / "zoo").iterdir()) == []


def test_whether_there_is_room_is_told_before_anything_is_trained(
    small_disk: Path, model: TrainedModel
) -> None:
    store = ModelStore(small_disk / "models")
    store.check("zoo")
    store.check("zoo", 2_500_000)
    with pytest.raises(NoRoomError) as caught:
        store.check("zoo", 5_000_000)
    assert caught.value.room == 5_000_000
    assert str(caught.value) == (
        f"model 'zoo': it cannot be kept in {store.folder}: No space left on device; "
        "make room there, at least 5,000,000 bytes"
    )
    filler = small_disk / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as stream:
        while stream.write(bytes(1_000)):
            pass
    with pytest.raises(NoRoomError):
        store.check("zoo")
    with pytest.raises(NoRoomError) as caught:
        store.save(model, now=NOW)
    filler.unlink()
    store.check("zoo", caught.value.room)
    saved = store.save(model, now=NOW)
    kept = sum(path.stat().st_size for path in (store.folder / "zoo" / str(saved.version)).iterdir())
    assert caught.value.room == kept + LEAST_ROOM
    assert sorted(path.name for path in store.folder.iterdir()) == ["zoo"]  # nothing else stays


def test_a_folder_that_must_not_be_written_is_told_as_well(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ModelError, match=r"model 'zoo': it cannot be kept in .*: File exists"):
        ModelStore(tmp_path / "file").check("zoo")


def test_the_time_has_a_zone(tmp_path: Path, model: TrainedModel) -> None:
    with pytest.raises(ValueError, match="now must be aware"):
        ModelStore(tmp_path).save(model, now=NOW.replace(tzinfo=None))


def test_half_a_version_of_a_writer_that_died_is_not_seen(tmp_path: Path, model: TrainedModel) -> None:
    (tmp_path / "zoo" / ".new-1-0").mkdir(parents=True)
    (tmp_path / "zoo" / "notes").mkdir()
    (tmp_path / "zoo" / "1").write_text("somebody's file")
    store = ModelStore(tmp_path)
    assert store.save(model, now=NOW).version == 2
    assert store.load("zoo").version.version == 2


def edit(change: Callable[[dict[str, Any]], Any], *, seal: bool = False) -> Callable[[Path], None]:
    def spoil(place: Path) -> None:
        path = place / "manifest.json"
        fields = json.loads(path.read_text())
        change(fields)
        if seal:
            fields.pop("manifest_sha256", None)
            whole = json.dumps(fields, sort_keys=True).encode()
            fields["manifest_sha256"] = hashlib.sha256(whole).hexdigest()
        path.write_text(json.dumps(fields))

    return spoil


def pipe(name: str) -> Callable[[Path], None]:
    def spoil(place: Path) -> None:
        (place / name).unlink()
        os.mkfifo(place / name)

    return spoil


def flip(place: Path) -> None:
    content = bytearray((place / "model.safetensors").read_bytes())
    content[-5] ^= 1
    (place / "model.safetensors").write_bytes(content)


def replace(content: bytes) -> Callable[[Path], None]:
    """Put other weights there, and a manifest that fits them."""

    def spoil(place: Path) -> None:
        (place / "model.safetensors").write_bytes(content)
        edit(lambda fields: fields.update(sha256=hashlib.sha256(content).hexdigest()), seal=True)(place)

    return spoil


def other_weights(place: Path) -> None:
    save_file({"0.weight": torch.zeros(2, 2)}, place / "model.safetensors")
    replace((place / "model.safetensors").read_bytes())(place)


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no manifest": (
        lambda place: (place / "manifest.json").unlink(),
        "manifest.json cannot be read: No such file",
    ),
    "no weights": (
        lambda place: (place / "model.safetensors").unlink(),
        "model.safetensors cannot be read: No such",
    ),
    "no JSON": (lambda place: (place / "manifest.json").write_text("{"), "manifest.json is not JSON"),
    "binary": (lambda place: (place / "manifest.json").write_bytes(b"\xff\xfe"), "manifest.json is not JSON"),
    "a deep list": (
        lambda place: (place / "manifest.json").write_text("[" * 100_000),
        "manifest.json is not JSON",
    ),
    "a pipe": (pipe("manifest.json"), "manifest.json cannot be read: it is no regular file; train it again"),
    "weights in a pipe": (pipe("model.safetensors"), "model.safetensors cannot be read: it is no regular"),
    "weights in a folder": (
        lambda place: ((place / "model.safetensors").unlink(), (place / "model.safetensors").mkdir()),
        "model.safetensors cannot be read: ",
    ),
    "a list": (
        lambda place: (place / "manifest.json").write_text("[]"),
        "manifest.json was changed after it was",
    ),
    "a label edited": (
        edit(lambda fields: fields["model"]["labels"].reverse()),
        "manifest.json was changed after",
    ),
    "a digest edited": (
        edit(lambda fields: fields.update(sha256="0" * 64)),
        "manifest.json was changed after",
    ),
    "a newer format": (
        edit(lambda fields: fields.update(format=2), seal=True),
        "manifest.json has the format 2; this",
    ),
    "no model": (edit(lambda fields: fields.pop("model"), seal=True), "manifest.json is no model's manifest"),
    "no date": (
        edit(lambda fields: fields.update(created="x"), seal=True),
        "manifest.json is no model's manifest",
    ),
    "a label less": (
        edit(lambda fields: fields["model"]["labels"].pop(), seal=True),
        "manifest.json is no model's manifest",
    ),
    "a bit flipped": (flip, r"model.safetensors is not what manifest.json says \(sha256\)"),
    "no safetensors": (replace(b"\x80\x04K\x01."), "model.safetensors is no safetensors file"),
    "empty weights": (replace(b""), "model.safetensors is no safetensors file"),
    "other weights": (other_weights, "its weights do not fit the network 'mlp'; was the factory changed"),
}


@pytest.mark.parametrize(("spoil", "sentence"), DAMAGE.values(), ids=DAMAGE)
def test_damage_is_told(
    tmp_path: Path, model: TrainedModel, spoil: Callable[[Path], None], sentence: str
) -> None:
    store = ModelStore(tmp_path)
    store.save(model, now=NOW)
    spoil(tmp_path / "zoo" / "1")
    with pytest.raises(ModelDamagedError, match=f"^model 'zoo:1': {sentence}") as caught:
        store.load("zoo")
    assert "\n" not in str(caught.value)


class Tied(nn.Module):
    """Two layers that share a weight."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.one = nn.Linear(inputs, inputs, bias=False)
        self.two = nn.Linear(inputs, inputs, bias=False)
        self.two.weight = self.one.weight
        self.norm = nn.BatchNorm1d(inputs)
        self.last = nn.Linear(inputs, outputs)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.last(self.norm(self.two(torch.relu(self.one(features)))))
        return answer


class Secretive(nn.Linear):
    """Keeps something else than tensors in its state."""

    def get_extra_state(self) -> Any:
        return {"secret": 1}

    def set_extra_state(self, _state: Any) -> None:
        pass


def test_a_users_network_is_kept_and_needs_its_factory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning.networks, "_registered", {})
    register_network("tied", Tied)
    register_network("secretive", Secretive)
    store = ModelStore(tmp_path)
    trained = train(task(network="tied", epochs=3), blobs())
    store.save(trained, now=NOW)
    assert predict(store.load("model"), ROWS) == predict(trained, ROWS)
    with pytest.raises(
        ModelError, match="the network's state '_extra_state' is no tensor and cannot be kept"
    ):
        store.save(train(task(network="secretive"), blobs()), now=NOW)
    monkeypatch.setattr(learning.networks, "_registered", {})
    with pytest.raises(NetworkError, match="network 'tied': there is no such network"):
        store.load("model")
