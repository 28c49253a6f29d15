"""One step of training, and answering without training: what training, measuring and prediction share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from learning.errors import DeviceError, InputError, NetworkError
from learning.networks import BUILT_IN, seeded
from ontology.models import TaskKind

ANSWER_ROWS = 4096
"""Rows answered at once, where no gradient is kept."""


class Stepper:
    """A network, its loss and its optimiser (Adam)."""

    def __init__(
        self, network: nn.Module, name: str, kind: TaskKind, *, learning_rate: float, seed: int
    ) -> None:
        """Take a network that is on its device already.

        Args:
            network: its parameters are changed in place.
            name: for the error, and to know whether it is built in.
            kind: cross entropy for classification, mean squared error for regression.
            learning_rate: greater than 0.
            seed: what a user's network draws in a step depends on this and the step's number.
        """
        self.network = network
        self.name = name
        self.loss: nn.Module = nn.CrossEntropyLoss() if kind == "classification" else nn.MSELoss()
        self.optimiser = torch.optim.Adam(network.parameters(), lr=learning_rate)
        self.seed = seed
        self.steps = 0

    def step(self, features: Tensor, targets: Tensor) -> Tensor:
        """Learn from one batch.

        Args:
            features: float32 [row, feature].
            targets: int64 [row] classes, or float32 [row, 1].

        Returns:
            The batch's mean loss before the step, a float32 scalar on the device.

        Raises:
            NetworkError: a user's network failed.
        """
        self.steps += 1
        self.optimiser.zero_grad(set_to_none=True)
        try:
            loss: Tensor = self.loss(self._forward(features), targets)
            loss.backward()  # type: ignore[no-untyped-call]
        except (torch.cuda.OutOfMemoryError, MemoryError):
            raise
        except Exception as error:  # the user's own code; the built-in networks took a probe and do not fail
            raise NetworkError(
                self.name, f"a step on {len(features)} rows failed: {type(error).__name__}: {error}"
            ) from error
        self.optimiser.step()
        return loss.detach()

    def _forward(self, features: Tensor) -> Tensor:
        if self.name in BUILT_IN:  # these draw nothing
            answer: Tensor = self.network(features)
            return answer
        with seeded(features.device, (self.seed * 1_000_003 + self.steps) % 2**63):
            drawn: Tensor = self.network(features)
            return drawn


def answers(network: nn.Module, features: Tensor, device: torch.device) -> Tensor:
    """Let a network answer, some rows at a time, in evaluation mode and without gradients.

    Args:
        network: on `device`.
        features: float32 [row, feature], on any device.
        device: where to compute.

    Returns:
        float32 [row, output] on `device`.

    Raises:
        DeviceError: the device's memory is too small.
    """
    network.eval()
    with memory_of(device), torch.inference_mode():
        return torch.cat([network(part.to(device)) for part in torch.split(features, ANSWER_ROWS)])


def require_finite(answer: Tensor) -> None:
    """Refuse answers that are no numbers.

    Args:
        answer: float32 [row, output].

    Raises:
        InputError: one is infinite or NaN.
    """
    finite = torch.isfinite(answer).all(dim=1)
    if not bool(finite.all()):
        raise InputError(
            "the model gives no finite answer; the row is too far from those it was trained on",
            row=int(torch.nonzero(~finite)[0]) + 1,
        )


@contextmanager
def memory_of(device: torch.device) -> Iterator[None]:
    """Tell in our words that a device's memory is full.

    Raises:
        DeviceError: it is.
    """
    try:
        yield
    except (torch.cuda.OutOfMemoryError, MemoryError) as error:
        raise DeviceError(
            f"the memory of {device} is too small; use a smaller batch_size or network, or the device 'cpu'"
        ) from error
