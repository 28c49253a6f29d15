"""`deploy/prometheus` and `deploy/grafana`: rules fire when they should, and every metric exists."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from society.metrics import Metrics
from tests.requirements import require

DEPLOY = Path(__file__).parents[2] / "deploy"
PROMETHEUS, GRAFANA = DEPLOY / "prometheus", DEPLOY / "grafana"

FOREIGN = {"up", "process_cpu_seconds_total", "process_resident_memory_bytes"}
"""Those of Prometheus itself, and of its client for Python."""

LABELS = {"le", "job", "instance"}
"""What Prometheus adds to each series, or to each bucket."""


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def rules() -> list[dict[str, Any]]:
    return [rule for group in read(PROMETHEUS / "rules.yml")["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((GRAFANA / "dashboards" / "locution.json").read_text(encoding="utf-8"))
    return found


def expressions() -> Iterator[str]:
    """Every expression in PromQL that anything here evaluates."""
    yield from (rule["expr"] for rule in rules())
    for panel in dashboard()["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))


def names() -> dict[str, set[str]]:
    """The labels that each metric has, under each name that it has in an expression."""
    found = {name: {"job"} for name in FOREIGN}
    for each in Metrics().described():
        ends = ("_bucket", "_sum", "_count") if each.kind == "histogram" else ("",)
        found |= {each.name + end: set(each.labels) for end in ends}
    return found


@pytest.mark.parametrize("expression", sorted(set(expressions())))
def test_an_expression_asks_only_for_what_there_is(expression):
    known, used = names(), re.findall(r"\b((?:locution|process)_\w+|up\b)(?:\{([^}]*)\})?", expression)
    assert used
    for name, selector in used:
        assert name in known
        assert set(re.findall(r"(\w+)[=!]", selector)) <= known[name] | LABELS
    allowed = set.union(*(known[name] for name, _selector in used), LABELS)
    for grouping in re.findall(r"by \(([^)]*)\)", expression):
        assert {each.strip() for each in grouping.split(",")} <= allowed


def test_every_metric_is_shown_or_watched():
    text = " ".join(expressions())
    for each in Metrics().described():
        assert re.search(rf"\b{each.name}(_bucket|_sum|_count)?\b", text), each.name


def test_every_alert_says_how_bad_it_is_and_what_to_do_and_is_tested():
    tests = read(PROMETHEUS / "rules_test.yml")["tests"]
    well, *ill = (test["alert_rule_test"] for test in tests)
    fired = {each["alertname"] for test in ill for each in test if each.get("exp_alerts")}
    alerts = {rule["alert"] for rule in rules()}
    assert fired == alerts == {each["alertname"] for each in well}
    assert len(alerts) == len(rules())
    for rule in rules():
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert {"summary", "description"} == set(rule["annotations"])
        assert rule["for"]


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    path = shutil.which("promtool")
    require(path is not None, "promtool on the path (it is part of Prometheus)")
    assert path is not None
    return subprocess.run(
        [path, *arguments], cwd=PROMETHEUS, capture_output=True, text=True, check=False, timeout=100
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "rules", "rules.yml"),
        ("check", "config", "prometheus.yml"),
        ("test", "rules", "rules_test.yml"),
    ],
    ids=" ".join,
)
def test_promtool_finds_nothing_wrong(arguments):
    done = promtool(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_prometheus_scrapes_is_the_job_of_the_rules():
    jobs = {each["job_name"] for each in read(PROMETHEUS / "prometheus.yml")["scrape_configs"]}
    text = " ".join(expressions())
    assert set(re.findall(r'job="(\w+)"', text)) <= jobs


def test_the_dashboard_asks_the_data_source_that_is_provisioned():
    (source,) = read(GRAFANA / "datasources" / "prometheus.yml")["datasources"]
    board = dashboard()
    panels = [panel for panel in board["panels"] if panel["type"] != "row"]
    assert {panel["datasource"]["uid"] for panel in panels} == {source["uid"]}
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    assert all(panel["title"] and panel["targets"] for panel in panels)
    (provider,) = read(GRAFANA / "dashboards" / "locution.yml")["providers"]
    assert provider["options"]["path"] == "/etc/grafana/provisioning/dashboards"


def test_panels_do_not_overlap():
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not taken & cells, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
