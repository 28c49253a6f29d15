"""Networks by name: mlp, cnn, logistic, and those that users register.

A network is made by a factory ``(inputs: int, outputs: int) -> nn.Module``. The module takes float32
[row, feature] with `inputs` standardised features and returns float32 [row, output]: one logit per class
(two for a question of yes and no), or one number for regression. The factory must give a module of the same
shape every time, because a saved model is built by it again before its weights are loaded.

Register one in code, ``register_network("deep", make_deep)``, or in the metadata of your own package::

    [project.entry-points."locution.networks"]
    deep = "my_package.my_module:make_deep"
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points

import torch
from torch import Tensor, nn

from learning.errors import NetworkError

Factory = Callable[[int, int], nn.Module]

ENTRY_POINTS = "locution.networks"
"""The entry point group in which packages offer networks."""

SMALLEST_SIDE = 4
"""The smallest image, in pixels along a side, that the convolutional network takes."""


def mlp(inputs: int, outputs: int) -> nn.Module:
    """One hidden layer of 256 units."""
    return nn.Sequential(nn.Linear(inputs, 256), nn.ReLU(), nn.Linear(256, outputs))


def logistic(inputs: int, outputs: int) -> nn.Module:
    """Logistic regression; with one output and a squared loss it is linear regression.

    It starts from zero: its loss has one minimum, and random weights would only have to be unlearnt.
    """
    layer = nn.Linear(inputs, outputs)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def cnn(inputs: int, outputs: int) -> nn.Module:
    """A convolutional network for square images of one channel, given row by row.

    Two convolutions of 3 x 3, then as many more as bring the image down to 4 to 7 pixels along a side.

    Raises:
        NetworkError: the features form no square, or too small a one.
    """
    side = math.isqrt(inputs)
    if side * side != inputs or side < SMALLEST_SIDE:
        raise NetworkError(
            "cnn",
            f"{inputs} features form no square image of at least {SMALLEST_SIDE} x {SMALLEST_SIDE} pixels; "
            "use features that do (64 for 8 x 8), or the network 'mlp'",
        )
    layers: list[nn.Module] = [nn.Unflatten(1, (1, side, side)), *_convolution(1, 16), *_convolution(16, 32)]
    channels = 32
    while side >= 2 * SMALLEST_SIDE:
        layers.append(nn.MaxPool2d(2))
        side //= 2
        if side >= 2 * SMALLEST_SIDE:
            layers += _convolution(channels, 64)
            channels = 64
    layers += [nn.Flatten(), nn.Linear(channels * side * side, 64), nn.ReLU(), nn.Linear(64, outputs)]
    return nn.Sequential(*layers)


def _convolution(channels: int, wider: int) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(channels, wider, kernel_size=3, padding=1), nn.ReLU()


BUILT_IN: Mapping[str, Factory] = {"cnn": cnn, "logistic": logistic, "mlp": mlp}

_registered: dict[str, Factory] = {}
"""What `register_network` was told. Python's import system is as global: it is filled while modules load."""

_seeding = threading.Lock()
"""Held while the process-wide generator serves one network, so that trainings in threads stay apart."""


def register_network(name: str, factory: Factory) -> None:
    """Make a network known under a name, in this process.

    Args:
        name: what tasks call it.
        factory: see the module's docstring.

    Raises:
        NetworkError: the name is taken by another factory, or the factory cannot be called.
    """
    if not callable(factory):
        raise NetworkError(name, f"the factory must be callable with (inputs, outputs), not {factory!r}")
    taken = BUILT_IN.get(name) or _registered.get(name)
    if taken is not None and taken is not factory:
        raise NetworkError(name, "this name is taken; register the factory under another one")
    _registered[name] = factory


def networks() -> tuple[str, ...]:
    """The names of all networks: built in, registered, and offered by installed packages; sorted."""
    return tuple(sorted({*BUILT_IN, *_registered, *_offered()}))


def build(name: str, inputs: int, outputs: int, *, seed: int) -> nn.Module:
    """Make a network on the CPU with initial weights that depend on the seed alone.

    Args:
        name: one of `networks`.
        inputs: features per row.
        outputs: classes, or 1 for regression.
        seed: the same seed gives the same weights, whatever other threads do.

    Raises:
        NetworkError: the name is unknown, or what the factory makes does not fit; the sentence says how.
    """
    factory = _factory(name)
    with seeded(torch.device("cpu"), seed):
        try:
            module = factory(inputs, outputs)
        except NetworkError:
            raise
        except Exception as error:  # the user's own code: whatever it raises is told under its name
            raise NetworkError(
                name, f"its factory failed for {inputs} inputs and {outputs} outputs: {_told(error)}"
            ) from error
        _check(name, module, inputs, outputs)
    return module


@contextmanager
def seeded(device: torch.device, seed: int) -> Iterator[None]:
    """Draw from torch's process-wide generators as if they were ours, and put them back afterwards.

    Initial weights and dropout draw from them, without a way to pass one's own. A lock keeps trainings in
    other threads out; code that is not ours and draws at the same moment may see a different number.
    """
    cards = [device.index or 0] if device.type == "cuda" else []
    with _seeding, torch.random.fork_rng(devices=cards):
        torch.default_generator.manual_seed(seed)
        for card in cards:
            torch.cuda.default_generators[card].manual_seed(seed)
        yield


def _factory(name: str) -> Factory:
    known = BUILT_IN.get(name) or _registered.get(name)
    if known is not None:
        return known
    offered = _offered()
    if name not in offered:
        raise NetworkError(
            name,
            f"there is no such network; there are {', '.join(networks())}, and register_network adds one",
        )
    try:
        factory = offered[name].load()
    except Exception as error:  # importing the user's package can fail in any way
        raise NetworkError(
            name, f"its entry point {offered[name].value!r} cannot be loaded: {_told(error)}"
        ) from error
    if not callable(factory):
        raise NetworkError(name, f"its entry point {offered[name].value!r} is no factory but {factory!r}")
    made: Factory = factory
    return made


def _offered() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}


def _check(name: str, module: object, inputs: int, outputs: int) -> None:
    """Refuse what cannot be trained, before any time is spent on it."""
    if not isinstance(module, nn.Module):
        raise NetworkError(name, f"its factory must return a torch.nn.Module, not {type(module).__name__}")
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise NetworkError(name, "its module has no parameters to train")
    module.eval()
    try:
        with torch.no_grad():
            answer = module(torch.zeros(2, inputs))
    except Exception as error:  # the user's own code
        raise NetworkError(
            name, f"its module cannot take float32 [2, {inputs}] (row, feature): {_told(error)}"
        ) from error
    if not isinstance(answer, Tensor) or answer.dtype != torch.float32 or answer.shape != (2, outputs):
        found = (
            f"{answer.dtype} {list(answer.shape)}" if isinstance(answer, Tensor) else type(answer).__name__
        )
        raise NetworkError(name, f"its module must return float32 [2, {outputs}] for two rows, not {found}")


def _told(error: Exception) -> str:
    """A foreign error in one line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
