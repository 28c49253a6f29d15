"""deploy/kubernetes before a real API server, which says what it would make and makes nothing.

    KUBE_SERVER=https://127.0.0.1:6443 KUBE_TOKEN=... python -m pytest tests/deploy/test_api_server.py

An API server alone is enough. It looks at the labels of a StatefulSet's template and not at the pod in it, so
a Pod is made from each template.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from tests.deploy.manifests import OVERLAYS, Pod, Resource, Resources, named, of, pods, rendered, secrets
from tests.requirements import require_hardware

OLDER = {"policy/v1": "policy/v1beta1", "autoscaling/v2": "autoscaling/v2beta2"}
"""What the same text is called before Kubernetes 1.21 and 1.23."""


@pytest.fixture(scope="module", autouse=True)
def _server() -> None:
    found = bool(os.environ.get("KUBE_SERVER")) and shutil.which("kubectl") is not None
    require_hardware(found, "an API server, named by KUBE_SERVER, and kubectl")
    (namespace,) = of(rendered("base"), "Namespace")
    made = kubectl("apply", "--filename=-", resources=[namespace])
    assert made.returncode == 0, made.stderr


def kubectl(*arguments: str, resources: Iterable[Resource] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            "kubectl",
            f"--server={os.environ['KUBE_SERVER']}",
            f"--token={os.environ.get('KUBE_TOKEN', '')}",
            "--insecure-skip-tls-verify",
            f"--kubeconfig={os.devnull}",
            *arguments,
        ],
        input=json.dumps({"apiVersion": "v1", "kind": "List", "items": [*resources]}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def told(resources: Iterable[Resource]) -> tuple[int, str]:
    """How many of these the server would make, and what it says against them."""
    ran = kubectl("apply", "--dry-run=server", "--filename=-", resources=resources)
    return ran.stdout.count("server dry run"), ran.stderr


def known(resources: Resources) -> list[Resource]:
    """Those of Kubernetes itself, by the names that this server has for them."""
    versions = kubectl("api-versions").stdout.split()
    found = []
    for each in resources:
        version = each["apiVersion"]
        if "kueue" not in version:
            found.append({**each, "apiVersion": version if version in versions else OLDER[version]})
    return found


def made_from(pod: Pod) -> dict[str, Any]:
    """A Pod as the controller of its workload would make it."""
    spec, name = copy.deepcopy(dict(pod.spec)), f"{pod.workload['metadata']['name']}-0"
    for claim in pod.workload["spec"].get("volumeClaimTemplates", ()):
        volume = claim["metadata"]["name"]
        source = {"claimName": f"{volume}-{name}"}
        spec.setdefault("volumes", []).append({"name": volume, "persistentVolumeClaim": source})
    spec.pop("serviceAccountName")  # it would be made with the rest, and nothing is made
    metadata = {"name": name, "namespace": "locution", "labels": dict(pod.labels)}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_it_would_make_all_that_it_knows(overlay: str) -> None:
    wanted = known(rendered(overlay))
    assert told(wanted) == (len(wanted), "")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_it_would_make_the_pods(overlay: str) -> None:
    wanted = [made_from(pod) for pod in pods(rendered(overlay))]
    assert told(wanted) == (len(wanted), "")


def test_it_would_make_the_secrets() -> None:
    assert told(secrets().values()) == (len(secrets()), "")


def _mount(pod: dict[str, Any]) -> None:
    pod["spec"]["containers"][0]["volumeMounts"][0]["name"] = "nowhere"


def _request(pod: dict[str, Any]) -> None:
    pod["spec"]["containers"][0]["resources"]["requests"]["memory"] = "900Gi"


def _port(pod: dict[str, Any]) -> None:
    pod["spec"]["containers"][0]["ports"][0]["containerPort"] = 94640


def _spread(pod: dict[str, Any]) -> None:
    pod["spec"]["topologySpreadConstraints"][0]["maxSkew"] = 0


@pytest.mark.parametrize("harm", [_mount, _request, _port, _spread])
def test_it_does_refuse_what_is_wrong(harm: Callable[[dict[str, Any]], None]) -> None:
    (learner,) = (
        made_from(each) for each in pods(rendered("base")) if named(each.workload) == "StatefulSet learner"
    )
    assert told([learner]) == (1, "")
    harm(learner)
    count, text = told([learner])
    assert count == 0
    assert "is invalid" in text
