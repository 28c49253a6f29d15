"""What this machine can compute with, how fast it is, and how long a task would take here."""

from __future__ import annotations

import math
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch

from learning.errors import DeviceError
from learning.networks import build
from learning.splitting import VALIDATION
from learning.stepping import Stepper, memory_of
from ontology.models import DeviceDescription, ResourceDescription, TaskKind
from ontology.tasks import Train

Wanted = Literal["auto", "cpu", "cuda"]

MEASURED_ROWS = 512
"""The largest batch that is measured; per row, larger ones are no slower."""

MOST_THREADS = 4
"""More threads than this gain nothing for networks as small as the built-in ones."""


def choose_device(wanted: Wanted = "auto") -> torch.device:
    """The device to compute on: ``auto`` takes CUDA where there is a device, else the CPU.

    Raises:
        DeviceError: CUDA was asked for by name and there is none.
    """
    if wanted == "cpu":
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    if wanted == "cuda":
        raise DeviceError("there is no CUDA device here; ask for 'auto' or 'cpu', or another learner")
    return torch.device("cpu")


def limit_threads() -> int:
    """Leave a processor to whatever else this process does; returns the threads torch may use.

    An agent answers messages while it trains in a thread. torch takes every core for one operation, so
    the event loop would wait for a processor; one fewer, and `MOST_THREADS` at most, keeps it answering.
    The number holds for the whole process and is only ever lowered: a smaller number that the user set
    (OMP_NUM_THREADS, torch.set_num_threads) stays. Training and measuring call this first.
    """
    most = max(1, min(MOST_THREADS, available_cpus() - 1))
    if torch.get_num_threads() > most:
        torch.set_num_threads(most)
    return torch.get_num_threads()


def available_cpus() -> int:
    """Processors this process may use: its affinity, and the quota of its control group if there is one."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _space, period = _control_group("cpu.max").partition(" ")
    if quota.isdigit() and period.isdigit() and int(period) > 0:
        allowed = min(allowed, math.ceil(int(quota) / int(period)))
    return max(1, allowed)


def available_memory() -> int:
    """The machine's memory in bytes, or what its control group allows if that is less."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _control_group("memory.max")
    return min(memory, int(limit)) if limit.isdigit() else memory


def describe_device(device: torch.device) -> DeviceDescription:
    """Describe one device; for a GPU the memory is the card's own."""
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return DeviceDescription(kind="cuda", name=properties.name, memory_bytes=properties.total_memory)
    return DeviceDescription(kind="cpu", name=_cpu_name(), memory_bytes=available_memory())


def describe_resources() -> ResourceDescription:
    """What this machine offers; CUDA devices come first, the CPU last."""
    cards = [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    devices = tuple(describe_device(device) for device in [*cards, torch.device("cpu")])
    return ResourceDescription(cpus=available_cpus(), memory_bytes=available_memory(), devices=devices)


def gpu_memory() -> dict[str, tuple[int, int]]:
    """Bytes in use, by whomever, and in all of each GPU that this process has computed on, by its number.

    Others are not asked: that alone would take some hundred megabytes of each.
    """
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return {}
    found = {}
    for index in range(torch.cuda.device_count()):
        if torch.cuda.max_memory_reserved(index) > 0:
            free, total = torch.cuda.mem_get_info(index)
            found[str(index)] = (total - free, total)
    return found


def measure_rate(
    network: str,
    inputs: int,
    outputs: int,
    batch_size: int,
    device: torch.device,
    *,
    kind: TaskKind = "classification",
    seconds: float = 0.1,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Train on made-up rows for a moment; the training speed on this device in rows per second.

    It runs the same step as training does, so the network, the loss and the optimiser are in it; reading the
    file is not. Takes about `seconds` and a few steps to warm up; the first call in a process also loads
    torch's optimisers, about one second.

    Args:
        network: a network's name.
        inputs: features per row.
        outputs: classes, or 1 for regression.
        batch_size: rows per step; at most `MEASURED_ROWS` are measured.
        device: where to measure.
        kind: which loss to use.
        seconds: how long to measure, greater than 0.
        clock: seconds that only ever rise.

    Raises:
        NetworkError: the network is unknown or does not take these inputs.
        DeviceError: the device's memory is too small.
    """
    limit_threads()
    with memory_of(device):
        module = build(network, inputs, outputs, seed=0).to(device)
        stepper = Stepper(module, network, kind, learning_rate=1e-3, seed=0)
        order = torch.arange(min(batch_size, MEASURED_ROWS), device=device)
        # Noise, not zeros: pooling takes longer where it cannot guess which value is the largest.
        noise = torch.Generator().manual_seed(0)
        features = torch.randn(len(order), inputs, generator=noise).to(device)
        targets = order % outputs if kind == "classification" else torch.zeros(len(order), 1, device=device)

        def step() -> None:
            stepper.step(features[order], targets[order]).item()  # item() waits until the device is done

        for _ in range(3):
            step()
        steps, began = 0, clock()
        while True:
            step()
            steps += 1
            passed = clock() - began
            if passed >= seconds:
                return steps * len(order) / passed


def estimate_seconds(task: Train, rows: int, rate: float, *, epochs: int | None = None) -> float:
    """How long training would take at most, early stopping left out.

    Args:
        task: what is to be trained.
        rows: rows of the dataset, the held-out ones included.
        rate: rows per second, from `measure_rate`.
        epochs: how many epochs to expect; the task's own number by default.
    """
    trained = rows * (1 - task.held_out) * (1 - VALIDATION)
    steps = math.ceil(trained / task.batch_size)
    # A step of few rows takes about as long as a full one, which is what was measured.
    seconds_per_epoch = steps * min(task.batch_size, max(trained, 1)) / rate
    watched = rows * (1 - task.held_out) * VALIDATION / (3 * rate)  # no gradient: a third of the work
    return (seconds_per_epoch + watched) * (epochs or task.epochs)


def _control_group(name: str) -> str:
    """One setting of this process's control group (version 2 of Linux), or an empty string."""
    try:
        return Path("/sys/fs/cgroup", name).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine() or "CPU"
