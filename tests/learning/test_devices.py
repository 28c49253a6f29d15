from __future__ import annotations

import itertools
import os

import pytest
import torch

from learning import devices
from learning.devices import choose_device, describe_resources, estimate_seconds, limit_threads, measure_rate
from learning.errors import DeviceError, NetworkError
from tests.learning.samples import task
from tests.requirements import require_hardware

CPU = torch.device("cpu")


def test_choosing_without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == choose_device("cpu") == CPU
    with pytest.raises(
        DeviceError, match="there is no CUDA device here; ask for 'auto' or 'cpu', or another learner"
    ):
        choose_device("cuda")


def test_choosing_with_cuda() -> None:
    require_hardware(torch.cuda.is_available(), "a CUDA device")
    assert choose_device("auto").type == choose_device("cuda").type == "cuda"
    assert choose_device("cpu") == CPU
    assert describe_resources().devices[0].kind == "cuda"
    assert measure_rate("mlp", 64, 10, 64, choose_device("cuda")) > 1000


def test_the_resources_of_this_machine() -> None:
    found = describe_resources()
    assert 1 <= found.cpus <= (os.cpu_count() or 1)
    assert found.memory_bytes > 1 << 20
    assert found.devices[-1].kind == "cpu"
    assert found.devices[-1].name
    assert len(found.devices) == 1 + torch.cuda.device_count()


@pytest.mark.parametrize(
    ("settings", "cpus", "memory"),
    [
        ({"cpu.max": "150000 100000", "memory.max": "1000000"}, 2, 1_000_000),
        ({"cpu.max": "50000 100000", "memory.max": "max"}, 1, None),
        ({"cpu.max": "max 100000", "memory.max": ""}, 8, None),
        ({"cpu.max": "", "memory.max": "9" * 20}, 8, None),
        ({"cpu.max": "junk", "memory.max": "junk"}, 8, None),
    ],
)
def test_a_container_may_use_less_than_there_is(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], cpus: int, memory: int | None
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)))
    monkeypatch.setattr(devices, "_control_group", lambda name: settings[name])
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert devices.available_cpus() == cpus
    assert devices.available_memory() == (memory or whole)


@pytest.mark.parametrize(
    ("cpus", "threads", "expected"), [(1, 1, 1), (2, 2, 1), (4, 4, 3), (64, 64, 4), (64, 2, 2)]
)
def test_a_processor_is_left_to_others_and_the_users_smaller_number_stays(
    monkeypatch: pytest.MonkeyPatch, cpus: int, threads: int, expected: int
) -> None:
    now = [threads]
    monkeypatch.setattr(devices, "available_cpus", lambda: cpus)
    monkeypatch.setattr(torch, "get_num_threads", lambda: now[-1])
    monkeypatch.setattr(torch, "set_num_threads", now.append)
    assert limit_threads() == expected == now[-1]


def test_a_rate_is_steps_over_time() -> None:
    ticks = itertools.count(0.0, 0.25)  # every look at the clock is a quarter of a second later
    rate = measure_rate("logistic", 4, 2, 32, CPU, seconds=1.0, clock=lambda: next(ticks))
    assert rate == 4 * 32 / 1.0


@pytest.mark.parametrize("network", ["mlp", "cnn", "logistic"])
@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_measuring_on_this_machine(network: str, kind: str) -> None:
    outputs = 10 if kind == "classification" else 1
    assert measure_rate(network, 64, outputs, 64, CPU, kind=kind, seconds=0.01) > 100  # type: ignore[arg-type]


def test_measuring_changes_no_generator() -> None:
    before = torch.get_rng_state()
    measure_rate("mlp", 64, 10, 64, CPU, seconds=0.01)
    assert torch.equal(before, torch.get_rng_state())


def test_measuring_what_does_not_fit() -> None:
    with pytest.raises(NetworkError, match="63 features form no square"):
        measure_rate("cnn", 63, 10, 64, CPU)


def test_an_estimate_grows_with_the_work_and_shrinks_with_the_rate() -> None:
    wanted = task(epochs=10, batch_size=50)
    base = estimate_seconds(wanted, 1000, 1000.0)
    assert base == pytest.approx(10 * (750 + 80 / 3) / 1000)  # 720 rows are 15 steps of 50
    assert estimate_seconds(wanted, 2000, 1000.0) > base
    assert estimate_seconds(wanted, 1000, 2000.0) == pytest.approx(base / 2)
    assert estimate_seconds(wanted, 1000, 1000.0, epochs=5) == pytest.approx(base / 2)
    assert estimate_seconds(wanted, 1, 1000.0) > 0
