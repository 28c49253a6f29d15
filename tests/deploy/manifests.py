"""What kustomize makes of a folder of deploy/kubernetes, and how to read it."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from society.config import SocietyFile, load
from tests.requirements import require

ROOT = Path(__file__).resolve().parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
OVERLAYS = ("base", *(f"overlays/{name}" for name in ("dev", "gpu", "mig", "cloud", "kueue")))

WORKLOADS = frozenset({"Deployment", "StatefulSet", "Job"})
_SUFFIXES = {"m": Fraction(1, 1000), "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "": 1}

Resource = Mapping[str, Any]
Resources = tuple[Resource, ...]


def kustomize() -> list[str]:
    """The command that renders a folder: of kubectl, or kustomize itself."""
    if path := shutil.which("kubectl"):
        return [path, "kustomize"]
    path = shutil.which("kustomize")
    require(path is not None, "kubectl or kustomize")
    return [str(path), "build"]


@cache
def rendered(folder: str) -> Resources:
    """The resources of a folder of deploy/kubernetes, in the order of kustomize."""
    ran = subprocess.run(
        [*kustomize(), str(KUBERNETES / folder)], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == "", "kustomize warns of what it will not understand much longer"
    return tuple(yaml.safe_load_all(ran.stdout))


@cache
def secrets(run: int = 1) -> Mapping[str, Resource]:
    """What a run of secrets.sh makes, by name."""
    ran = subprocess.run([KUBERNETES / "secrets.sh"], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    return {each["metadata"]["name"]: each for each in yaml.safe_load_all(ran.stdout)}


def of(resources: Resources, *kinds: str) -> list[Resource]:
    """Those of some kinds."""
    return [each for each in resources if each["kind"] in kinds]


def named(resource: Resource) -> str:
    """How a resource is called in what a test complains of."""
    return f"{resource['kind']} {resource['metadata']['name']}"


@dataclass(frozen=True)
class Pod:
    """The pods of one workload."""

    workload: Resource

    @property
    def template(self) -> Resource:
        """Their template."""
        found: Resource = self.workload["spec"]["template"]
        return found

    @property
    def labels(self) -> Mapping[str, str]:
        """The labels that each of them has."""
        found: Mapping[str, str] = self.template["metadata"]["labels"]
        return found

    @property
    def spec(self) -> Resource:
        """What each of them is to be."""
        found: Resource = self.template["spec"]
        return found

    @property
    def containers(self) -> list[Resource]:
        """Their containers, those that come first among them."""
        return [*self.spec.get("initContainers", ()), *self.spec["containers"]]

    def ports(self, protocol: str = "TCP") -> Iterator[tuple[str, int]]:
        """Names and numbers of the ports that their containers declare."""
        for container in self.containers:
            for port in container.get("ports", ()):
                if port.get("protocol", "TCP") == protocol:
                    yield port["name"], port["containerPort"]

    def listens(self, port: str | int, protocol: str = "TCP") -> bool:
        """Whether one of their containers declares a port."""
        return any(port in each for each in self.ports(protocol))

    def is_selected(self, selector: Resource) -> bool:
        """Whether a label selector means them."""
        wanted = selector.get("matchLabels", {})
        return all(self.labels.get(key) == value for key, value in wanted.items()) and all(
            self._meets(each) for each in selector.get("matchExpressions", ())
        )

    def _meets(self, expression: Resource) -> bool:
        assert expression["operator"] == "In", "say here what else an expression may mean"
        return self.labels.get(expression["key"]) in expression["values"]

    def __str__(self) -> str:
        return named(self.workload)


def pods(resources: Resources) -> list[Pod]:
    """The pods of every workload."""
    return [Pod(each) for each in of(resources, *WORKLOADS)]


def most_replicas(pod: Pod, resources: Resources) -> int:
    """As many pods of a workload as there may ever be."""
    for scaler in of(resources, "HorizontalPodAutoscaler"):
        target = scaler["spec"]["scaleTargetRef"]
        if (target["kind"], target["name"]) == (pod.workload["kind"], pod.workload["metadata"]["name"]):
            return int(scaler["spec"]["maxReplicas"])
    return int(pod.workload["spec"].get("replicas", 1))


def quantity(text: str | int) -> Fraction:
    """A quantity of Kubernetes as a number: ``500m`` is a half."""
    found = re.fullmatch(r"(\d+)([A-Za-z]*)", str(text))
    assert found, text
    return int(found[1]) * Fraction(_SUFFIXES[found[2]])


def agents(resources: Resources) -> list[Pod]:
    """The pods that run agents."""
    return [pod for pod in pods(resources) if pod.labels.get("metrics") == "true"]


def society_of(resources: Resources, folder: Path) -> SocietyFile:
    """The society that the pods run, read by the code that reads it there."""
    maps = [each["data"] for each in of(resources, "ConfigMap")]
    (text,) = (data["society.toml"] for data in maps if "society.toml" in data)
    path = folder / "society.toml"
    path.write_text(text)
    return load(path, {})
