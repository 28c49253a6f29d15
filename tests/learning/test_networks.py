from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import learning.networks
from learning.errors import NetworkError
from learning.networks import Factory, build, networks, register_network, seeded
from learning.training import train
from tests.learning.samples import blobs, task


@pytest.fixture(autouse=True)
def _own_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning.networks, "_registered", {})


def test_the_built_in_ones() -> None:
    assert networks() == ("cnn", "logistic", "mlp")


@pytest.mark.parametrize("name", ["cnn", "logistic", "mlp"])
@pytest.mark.parametrize(("inputs", "outputs"), [(16, 2), (49, 1), (64, 10), (784, 3)])
def test_shapes(name: str, inputs: int, outputs: int) -> None:
    network = build(name, inputs, outputs, seed=0)
    assert network(torch.ones(5, inputs)).shape == (5, outputs)


@pytest.mark.parametrize("inputs", [1, 9, 63, 128])
def test_a_cnn_needs_a_square(inputs: int) -> None:
    with pytest.raises(
        NetworkError, match=rf"'cnn': {inputs} features form no square image of at least 4 x 4"
    ):
        build("cnn", inputs, 2, seed=0)


def test_an_unknown_network() -> None:
    with pytest.raises(
        NetworkError, match=r"'rnn': there is no such network; there are cnn, logistic, mlp, and"
    ):
        build("rnn", 4, 2, seed=0)


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_the_seed_alone_decides_the_weights(name: str) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, same, other = (build(name, 64, 10, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not all(torch.equal(one[key], other[key]) for key in one)


def test_the_weights_are_the_same_while_other_threads_build() -> None:
    expected = [build("mlp", 64, 10, seed=seed).state_dict() for seed in range(4)]
    found: dict[int, list[dict[str, Any]]] = {}

    def work(seed: int) -> None:
        found[seed] = [build("mlp", 64, 10, seed=seed).state_dict() for _ in range(10)]

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed, states in found.items():
        assert all(torch.equal(state[key], expected[seed][key]) for state in states for key in state)


def deep(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, outputs))


def shallow(inputs: int, outputs: int) -> nn.Module:
    return nn.Linear(inputs, outputs)


def test_a_registered_network_trains() -> None:
    register_network("deep", deep)
    register_network("deep", deep)  # a module that is imported twice
    assert "deep" in networks()
    # 97 rows: the last batch would be a single row, which batch normalisation refuses
    assert train(task(network="deep", batch_size=16, epochs=20), blobs(135)).metrics["accuracy"] > 0.9


def test_dropout_depends_on_the_seed_alone() -> None:
    register_network("deep", deep)
    runs = []
    for noise in range(2):
        torch.manual_seed(noise)
        runs.append(train(task(network="deep"), blobs()).network.state_dict())
    assert all(torch.equal(runs[0][key], runs[1][key]) for key in runs[0])


def test_names_are_not_taken_twice() -> None:
    register_network("deep", deep)
    for name in ("deep", "mlp"):
        with pytest.raises(NetworkError, match="this name is taken; register the factory under another one"):
            register_network(name, shallow)


def test_seeded_puts_the_generator_back_after_an_error() -> None:
    before = torch.get_rng_state()

    def fail() -> None:
        with seeded(torch.device("cpu"), 3):
            torch.rand(3)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert torch.equal(before, torch.get_rng_state())


class Fixed(nn.Module):
    """Answers with whatever it was told."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, _features: torch.Tensor) -> Any:
        return self.answer


def _broken(_inputs: int, _outputs: int) -> nn.Module:
    return nn.Linear(10, 20)["no"]  # type: ignore[index,no-any-return]


WRONG: dict[str, tuple[Any, str]] = {
    "nothing": (lambda _i, _o: None, "its factory must return a torch.nn.Module, not NoneType"),
    "class": (lambda _i, _o: nn.Linear, "its factory must return a torch.nn.Module, not type"),
    "arguments": (lambda _i: None, "its factory failed for 4 inputs and 3 outputs: TypeError: "),
    "raises": (_broken, "its factory failed for 4 inputs and 3 outputs: TypeError: "),
    "no weights": (lambda _i, _o: nn.Flatten(), "its module has no parameters to train"),
    "inputs": (
        lambda _i, o: nn.Linear(7, o),
        r"its module cannot take float32 \[2, 4\] \(row, feature\): RuntimeError",
    ),
    "outputs": (
        lambda i, o: nn.Linear(i, o + 1),
        r"its module must return float32 \[2, 3\] for two rows, not torch.float32 \[2, 4\]",
    ),
    "type": (lambda i, o: nn.Linear(i, o).double(), "its module cannot take float32"),
    "tuple": (
        lambda _i, _o: Fixed((1, 2)),
        r"its module must return float32 \[2, 3\] for two rows, not tuple",
    ),
    "integers": (
        lambda _i, o: Fixed(torch.zeros(2, o, dtype=torch.int64)),
        r"its module must return float32 \[2, 3\] for two rows, not torch.int64",
    ),
}


@pytest.mark.parametrize(("factory", "sentence"), WRONG.values(), ids=WRONG)
def test_a_wrong_factory_is_told(factory: Factory, sentence: str) -> None:
    register_network("wrong", factory)
    with pytest.raises(NetworkError, match=rf"^network 'wrong': {sentence}") as caught:
        build("wrong", 4, 3, seed=0)
    assert "\n" not in str(caught.value)


def test_something_that_cannot_be_called() -> None:
    with pytest.raises(
        NetworkError, match=r"the factory must be callable with \(inputs, outputs\), not 'deep'"
    ):
        register_network("deep", "deep")  # type: ignore[arg-type]


def test_a_network_that_fails_while_it_trains() -> None:
    class Moody(nn.Linear):
        def forward(self, features: torch.Tensor) -> torch.Tensor:
            if self.training:
                raise OSError("no mood")
            return super().forward(features)

    register_network("moody", Moody)
    with pytest.raises(NetworkError, match=r"network 'moody': a step on 16 rows failed: OSError: no mood"):
        train(task(network="moody"), blobs())


# --- entry points ---------------------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package that offers networks, as its metadata stand on the path."""
    (tmp_path / "offering.py").write_text(
        "from torch import nn\n\n\ndef wide(inputs, outputs):\n    return nn.Linear(inputs, outputs)\n\n\n"
        "number = 3\n"
    )
    metadata = tmp_path / "offering-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: offering\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[locution.networks]\nwide = offering:wide\nnumber = offering:number\ngone = offering:gone\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("package")
def test_a_network_from_an_installed_package() -> None:
    assert networks() == ("cnn", "gone", "logistic", "mlp", "number", "wide")
    assert train(task(network="wide", epochs=30, learning_rate=0.05), blobs()).metrics["accuracy"] > 0.9


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("gone", "its entry point 'offering:gone' cannot be loaded: AttributeError"),
        ("number", "its entry point 'offering:number' is no factory but 3"),
    ],
)
def test_a_broken_entry_point(name: str, sentence: str) -> None:
    with pytest.raises(NetworkError, match=f"network '{name}': {sentence}"):
        build(name, 4, 2, seed=0)


def test_no_source_of_ours_unpickles() -> None:
    folder = Path(learning.networks.__file__).parent
    words = (
        "import pickle",
        "torch.load",
        "torch.save",
        "allow_pickle",
        "joblib",
        "marshal",
        "shelve",
        "np.load",
    )
    for path in folder.glob("*.py"):
        source = path.read_text(encoding="utf-8")
        assert not [word for word in words if word in source], path.name


def test_keeping_and_using_a_model_unpickles_nothing(tmp_path: Path) -> None:
    code = f"""
from datetime import datetime, UTC
import pickle
import torch
from learning.inference import predict
from learning.registry import ModelStore
from learning.training import train
from tests.learning.samples import blobs, task
trained = train(task(), blobs())
def refuse(*_args, **_kw): raise AssertionError("pickled")
for module, names in ((pickle, ("load", "loads", "dump", "dumps", "Unpickler")), (torch, ("load", "save"))):
    for name in names:
        setattr(module, name, refuse)
store = ModelStore({str(tmp_path)!r})
store.save(trained, now=datetime.now(UTC))
print(len(predict(store.load("model"), [[0, 0, 0, 0]]).values))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("1\n", 0), done.stderr
