"""A stand-in for a kubelet: the containers of an overlay's pods, run by Docker on this machine.

    python -m tests.deploy.kubelet overlays/dev

Each has the command, environment, user, groups, volumes, memory limit and read-only root of its pod, no
capabilities and no way to new privileges. Secrets are those of secrets.sh. Pods of one Service find each
other by its name. Then the operator trains and predicts, and everything is stopped and removed. What a
scheduler, controllers and NetworkPolicies do is left out, and so are liveness probes: what ends is not
started anew.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.deploy.manifests import ROOT, Pod, Resource, of, pods, quantity, rendered, secrets

ORDER = ("prosody", "accounts", "redis", "consul", "directory", "coordinator", "learner", "console")
READY_WITHIN = 120.0
LABEL = "locution-kubelet"
LEARNERS = 2
"""How many run where the autoscaler would say."""

Files = Mapping[str, bytes]


def docker(*arguments: str, within: float = 120.0) -> str:
    """What a command of Docker prints.

    Raises:
        RuntimeError: it failed; the message is what it said.
    """
    ran = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=within, check=False)
    if ran.returncode:
        raise RuntimeError(f"docker {' '.join(arguments[:3])}: {ran.stderr.strip()}")
    return ran.stdout.strip()


class Kubelet:
    """The pods of one overlay on this machine.

    Args:
        overlay: a folder of deploy/kubernetes.
        folder: where volumes lie.
        subnet: the first three bytes of a network of its own.
    """

    def __init__(self, overlay: str, folder: Path, subnet: str = "10.99.77") -> None:
        self.resources = rendered(overlay)
        self.pods = {pod.workload["metadata"]["name"]: pod for pod in pods(self.resources)}
        self._folder, self._subnet, self._last = folder, subnet, 10
        self._network = f"{LABEL}-{os.getpid()}"
        self._secrets = {name: _data(each) for name, each in secrets().items()}
        self._maps = {each["metadata"]["name"]: _data(each) for each in of(self.resources, "ConfigMap")}
        docker("network", "create", "--subnet", f"{subnet}.0/24", "--label", LABEL, self._network)

    def close(self) -> None:
        """Remove every container, and the network."""
        if found := docker("ps", "--all", "--quiet", "--filter", f"label={self._network}").split():
            docker("rm", "--force", "--volumes", *found)
        docker("network", "rm", self._network)

    def container(self, name: str) -> str:
        """What the container of a pod is called here; of a further one, ``<pod>-<container>``."""
        return f"{self._network}-{name}"

    def launch(self, workload: str) -> None:
        """Start the pods of a workload, and wait until all are ready, or a Job's is done."""
        pod = self.pods[workload]
        spec = pod.workload["spec"]
        unsaid = LEARNERS if workload == "learner" else 1
        names = [f"{workload}-{ordinal}" for ordinal in range(int(spec.get("replicas", unsaid)))]
        for name in names:
            self.start(pod, name)
        for name in names:
            if pod.workload["kind"] == "Job":
                code = docker("wait", self.container(name))
                if code != "0":
                    raise RuntimeError(f"{name} ended with {code}: {self._log(name)}")
            else:
                seconds = self._until_ready(pod, name)
                _tell(f"{name}: ready after {seconds:.1f} s")

    def start(self, pod: Pod, name: str) -> None:
        """Start the containers of one pod."""
        self._last += 1
        address, identity = f"{self._subnet}.{self._last}", str(uuid.uuid4())
        fields = {"metadata.name": name, "metadata.uid": identity, "status.podIP": address}
        volumes = self._volumes(pod, name)
        first = ""
        for container in pod.containers:
            environment = self._environment(container, fields)
            title = self.container(f"{name}-{container['name']}" if first else name)
            own = {**pod.spec["securityContext"], **container["securityContext"]}
            run = ["run", "--detach", "--name", title, "--label", self._network, "--read-only"]
            run += ["--user", f"{own['runAsUser']}:{own['runAsGroup']}", "--group-add", str(own["fsGroup"])]
            run += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
            run += ["--memory", str(int(quantity(container["resources"]["limits"]["memory"])))]
            run += ["--network", f"container:{first}"] if first else self._network_of(pod, name, address)
            for key, value in environment.items():
                run += ["--env", f"{key}={value}"]
            for mount in container.get("volumeMounts", ()):
                place = volumes[mount["name"]] / mount.get("subPath", "")
                run += ["--volume", f"{place}:{mount['mountPath']}{':ro' if mount.get('readOnly') else ''}"]
            if "workingDir" in container:
                run += ["--workdir", container["workingDir"]]
            command = [_expanded(each, environment) for each in container["command"]]
            docker(*run, "--entrypoint", command[0], container["image"], *command[1:])
            first = first or title

    def _network_of(self, pod: Pod, name: str, address: str) -> list[str]:
        found = ["--network", self._network, "--ip", address, "--hostname", name]
        for service in of(self.resources, "Service"):
            if pod.is_selected({"matchLabels": service["spec"]["selector"]}):
                title = service["metadata"]["name"]
                found += ["--network-alias", title, "--network-alias", f"{name}.{title}"]
        return found

    def _environment(self, container: Resource, fields: Mapping[str, str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for source in container.get("envFrom", ()):
            found |= {key: text.decode() for key, text in self._secrets[source["secretRef"]["name"]].items()}
        for variable in container.get("env", ()):
            match variable.get("valueFrom"):
                case None:
                    found[variable["name"]] = _expanded(variable["value"], found)
                case {"fieldRef": {"fieldPath": path}}:
                    found[variable["name"]] = fields[path]
                case {"resourceFieldRef": {"resource": "limits.cpu"}}:
                    found[variable["name"]] = container["resources"]["limits"]["cpu"]
                case {"secretKeyRef": {"name": secret, "key": key}} if secret in self._secrets:
                    found[variable["name"]] = self._secrets[secret][key].decode()
        return found

    def _volumes(self, pod: Pod, name: str) -> dict[str, Path]:
        group, own = pod.spec["securityContext"]["fsGroup"], self._folder / name
        found = {}
        for claim in pod.workload["spec"].get("volumeClaimTemplates", ()):
            title = claim["metadata"]["name"]
            found[title] = self._claim(f"{title}-{name}", group)
        for volume in pod.spec.get("volumes", ()):
            title = volume["name"]
            match volume:
                case {"emptyDir": _}:
                    found[title] = _folder(own / title, group)
                case {"configMap": {"name": source}}:
                    found[title] = _written(own / title, self._maps[source], group, 0o644)
                case {"secret": {"secretName": source, **more}}:
                    data, items = self._secrets[source], more.get("items")
                    chosen = {each["path"]: data[each["key"]] for each in items} if items else data
                    # Kubernetes lets the group of the pod read it.
                    found[title] = _written(
                        own / title, chosen, group, more.get("defaultMode", 0o644) | 0o040
                    )
                case {"persistentVolumeClaim": {"claimName": source}}:
                    found[title] = self._claim(source, group)
        return found

    def _claim(self, name: str, group: int) -> Path:
        place = self._folder / "claims" / name
        return place if place.exists() else _folder(place, group)

    def _until_ready(self, pod: Pod, name: str) -> float:
        probe = pod.containers[0].get("readinessProbe")
        began = time.monotonic()
        while probe is not None and not self._is_ready(pod, name, probe):
            if time.monotonic() > began + READY_WITHIN:
                raise RuntimeError(f"{name} is not ready: {self._log(name)}")
            time.sleep(0.25)
        return time.monotonic() - began

    def _is_ready(self, pod: Pod, name: str, probe: Resource) -> bool:
        ports = dict(pod.ports())
        match probe:
            case {"exec": {"command": command}}:
                asked = list(command)
            case {"tcpSocket": {"port": port}}:
                asked = ["bash", "-c", f": < /dev/tcp/127.0.0.1/{ports[port]}"]
            case {"httpGet": {"path": path, "port": port}}:
                url = f"http://127.0.0.1:{ports[port]}{path}"
                asked = ["python", "-c", f"import urllib.request; urllib.request.urlopen('{url}', timeout=5)"]
        ran = subprocess.run(
            ["docker", "exec", self.container(name), *asked], capture_output=True, check=False
        )
        return ran.returncode == 0

    def _log(self, name: str) -> str:
        ran = subprocess.run(
            ["docker", "logs", "--tail", "20", self.container(name)],
            capture_output=True,
            text=True,
            check=False,
        )
        return ran.stdout + ran.stderr


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _data(resource: Resource) -> Files:
    """What a Secret or ConfigMap holds."""
    is_secret = resource["kind"] == "Secret"
    data = {
        key: base64.b64decode(text) if is_secret else text.encode()
        for key, text in resource.get("data", {}).items()
    }
    return data | {key: text.encode() for key, text in resource.get("stringData", {}).items()}


def _expanded(text: str, environment: Mapping[str, str]) -> str:
    return re.sub(r"\$\((\w+)\)", lambda found: environment[found[1]], text)


def _folder(place: Path, group: int) -> Path:
    place.mkdir(parents=True)
    os.chown(place, 0, group)
    place.chmod(0o2777)
    return place


def _written(place: Path, files: Files, group: int, mode: int) -> Path:
    _folder(place, group)
    for name, data in files.items():
        (place / name).write_bytes(data)
        os.chown(place / name, 0, group)
        (place / name).chmod(mode)
    return place


def main(overlay: str) -> None:
    """Launch an overlay, use it, and stop it."""
    with tempfile.TemporaryDirectory(prefix=f"{LABEL}-") as folder:
        Path(folder).chmod(0o755)
        kubelet = Kubelet(overlay, Path(folder))
        try:
            for workload in ORDER:
                kubelet.launch(workload)
            shutil.copy(ROOT / "examples" / "digits.csv", Path(folder) / "claims" / "datasets")
            console = ["exec", kubelet.container("console-0"), "locution"]
            train = (
                "train",
                "digits.csv",
                "--target",
                "digit",
                "--network",
                "cnn",
                "--at-least",
                "0.9",
                "--json",
            )
            trained: dict[str, Any] = json.loads(docker(*console, *train).splitlines()[-1])
            _tell(json.dumps(trained))
            _tell(docker(*console, "groups"))
            _tell(
                docker(
                    *console, "predict", "digits", "/data/digits.csv", "--first", "3", "--compare", "digit"
                )
            )
            for name in ("coordinator-0", "learner-0", "directory-0"):
                began = time.monotonic()
                docker("stop", "--time", "15", kubelet.container(name))
                code = docker("inspect", "--format", "{{.State.ExitCode}}", kubelet.container(name))
                _tell(f"{name}: stopped in {time.monotonic() - began:.1f} s with {code}")
        finally:
            kubelet.close()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "overlays/dev")
