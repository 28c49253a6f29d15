"""What docker-compose.yml and the Dockerfile keep to, read without an engine."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from society.config import load
from tests.compose.outside import FILE
from tests.compose.stack import ROOT

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ONCE = {"setup", "accounts"}
SOCIETY = ROOT / "deploy" / "locution" / "society.toml"
MOST_LEARNERS = 8


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_may_do_nothing_that_it_need_not(name):
    service = SERVICES[name]
    assert service["user"] == "10001:10001"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["restart"] == ("no" if name in ONCE else "unless-stopped")


@pytest.mark.parametrize("name", sorted(SERVICES.keys() - ONCE - {"otel-collector"}))
def test_what_runs_on_says_whether_it_is_well(name):
    assert SERVICES[name]["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}


def test_whoever_is_waited_for_can_tell():
    for service in SERVICES.values():
        for name, needed in service.get("depends_on", {}).items():
            wanted = "service_completed_successfully" if name in ONCE else "service_healthy"
            assert needed == {"condition": wanted}


def test_every_port_is_on_loopback_and_from_a_variable():
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(ports) == 4
    for port in ports:
        assert re.fullmatch(r"127\.0\.0\.1:\$\{[A-Z]+_PORT:-(\d+)\}:\1", port)


def test_every_image_is_of_one_version():
    images = {service["image"] for service in SERVICES.values()} - {"${AGENT_IMAGE:-locution}"}
    assert images
    assert all(re.search(r":v?\d+[.-]", image) for image in images)


def test_every_volume_is_laid_over_a_folder_that_setup_owns():
    volumes = {each.partition(":")[0] for each in SERVICES["setup"]["volumes"]}
    assert COMPOSE["volumes"].keys() <= volumes


def test_no_builder_is_fetched_and_no_version_is_left_open():
    text = (ROOT / "Dockerfile").read_text()
    assert "syntax=" not in text
    assert text.count("install --quiet --constraint constraints.txt") == 2


def test_the_society_of_the_containers(monkeypatch):
    for variable in ("LOCUTION_XMPP_PORT", "LOCUTION_XMPP_HOST", "LOCUTION_CONSUL"):
        monkeypatch.delenv(variable, raising=False)
    file = load(SOCIETY, {"LOCUTION_REDIS": "redis://redis:6379/0"})
    names = [agent.name for agent in file.agents]
    commands = [service.get("command", []) for service in SERVICES.values()]
    only = [command[-1] for command in commands if "--only" in command]
    assert [name for name in names if not name.startswith("learner-")] == only
    assert names.count("learner-1") == 1
    assert len(names) - len(only) == MOST_LEARNERS
    assert file.metrics.port == 9464


def test_prometheus_looks_at_every_process():
    scraped = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    (locution,) = (each for each in scraped["scrape_configs"] if each["job_name"] == "locution")
    (found,) = locution["dns_sd_configs"]
    agents = {name for name, service in SERVICES.items() if "up" in service.get("command", [])}
    assert set(found["names"]) == agents
    assert found["port"] == 9464


def test_the_base_file_asks_for_no_gpu():
    assert "devices" not in (ROOT / "docker-compose.yml").read_text()
    gpu = yaml.safe_load((ROOT / "docker-compose.gpu.yml").read_text())["services"]["learner"]
    (device,) = gpu["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])


def test_the_society_file_that_the_documentation_shows(tmp_path):
    text = (ROOT / "docs" / "deployment.md").read_text()
    shown = text[text.index("```toml\n") + 8 :]
    path = tmp_path / "outside.toml"
    path.write_text(shown[: shown.index("```")])
    file = load(path, {})
    ours = tmp_path / "ours.toml"
    ours.write_text(FILE.format(data="examples", account="alice", port=5222))
    assert file.model_dump() == load(ours, {}).model_dump()
