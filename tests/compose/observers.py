"""What those see who watch: Prometheus finds every process, and answers the queries of Grafana."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

from tests.compose.stack import Stack, StackError, say, until


def look(stack: Stack) -> None:
    """See that all targets are up, and that no panel of a dashboard has a query that is refused."""
    expected = 1 + 3 + stack.learners + 1  # directory, coordinators, learners, Prosody
    until(lambda: _up(stack) == expected, f"Prometheus sees {expected} targets up (now {_up(stack)})", 60)
    say(f"Prometheus sees {expected} targets, all of them up")
    if _get(stack, "GRAFANA_PORT", "/api/health").get("database") != "ok":
        raise StackError("Grafana is not well")
    if (checked := _check(stack)) is not None:
        refused = [each for each in checked if "error" in each]
        if refused:
            raise StackError(f"Prometheus refuses a query of a dashboard: {refused[0]}")
        say(f"Grafana is provisioned, and Prometheus answers its {len(checked)} queries")


def _up(stack: Stack) -> int:
    targets = _get(stack, "PROMETHEUS_PORT", "/api/v1/targets")["data"]["activeTargets"]
    return sum(each["health"] == "up" for each in targets)


def _check(stack: Stack) -> Any:
    """What a stand-in for Grafana says of the dashboards; None where it is the real one."""
    try:
        return _get(stack, "GRAFANA_PORT", "/check")
    except urllib.error.HTTPError as error:
        return json.load(error) if error.code == 500 else None


def _get(stack: Stack, port: str, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{stack.variables[port]}{path}", timeout=20) as answer:
        return json.load(answer)
