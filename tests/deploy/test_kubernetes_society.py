"""The society that the pods of deploy/kubernetes run, and what the overlays make of it."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from society.config import ADDRESS_VARIABLES
from society.kinds import kind_of
from society.state import variable_of
from tests.deploy.manifests import (
    KUBERNETES,
    ROOT,
    Pod,
    Resources,
    agents,
    most_replicas,
    of,
    pods,
    quantity,
    rendered,
    secrets,
    society_of,
)

STANDARD = frozenset({"cpu", "memory"})


def test_every_pod_that_may_run_is_an_agent_of_the_society(resources: Resources, tmp_path: Path) -> None:
    file = society_of(resources, tmp_path)
    known = {agent.name: agent for agent in file.agents}
    passwords = secrets()
    ran = set()
    for pod in agents(resources):
        (agent,) = (each for each in pod.containers if each["name"] == "agent")
        *start, only = agent["command"]
        assert start == ["locution", "up", "--only"]
        (source,) = agent["envFrom"]
        for ordinal in range(most_replicas(pod, resources)):
            name = only.replace("$(POD_NAME)", f"{pod.workload['metadata']['name']}-{ordinal}")
            assert variable_of(name) in passwords[source["secretRef"]["name"]]["stringData"]
            kind_of(file, known[name])  # its options are checked as well
            ran.add(name)
    assert len(agents(resources)) == 3
    if resources is not rendered("overlays/dev"):
        assert ran == set(known), "an agent that may never run is asked for in vain"


def test_every_account_is_made_in_prosody(resources: Resources, tmp_path: Path) -> None:
    (job,) = (pod for pod in pods(resources) if pod.workload["kind"] == "Job")
    (container,) = job.containers
    made = secrets()
    variables = [
        key for each in container["envFrom"] for key in made[each["secretRef"]["name"]]["stringData"]
    ]
    file = society_of(resources, tmp_path)
    names = [file.society.operator, *(agent.name for agent in file.agents)]
    assert sorted(variables) == sorted(map(variable_of, names))


def test_all_speak_of_one_domain(resources: Resources, tmp_path: Path) -> None:
    domain = society_of(resources, tmp_path).society.domain
    maps = {key: text for each in of(resources, "ConfigMap") for key, text in each["data"].items()}
    assert re.findall(r'^VirtualHost "(.*)"', maps["prosody.cfg.lua"], re.MULTILINE) == [domain]
    assert f"DOMAIN={domain} " in (KUBERNETES / "secrets.sh").read_text()
    (job,) = (pod for pod in pods(resources) if pod.workload["kind"] == "Job")
    values = {each["name"]: each.get("value") for each in job.containers[0]["env"]}
    assert values["DOMAIN"] == domain


def test_the_environment_holds_no_variable_that_locution_refuses(resources: Resources) -> None:
    for pod in pods(resources):
        assert pod.spec["enableServiceLinks"] is False, "a Service locution-x would make LOCUTION_X_PORT"
        for container in pod.containers:
            for variable in container.get("env", ()):
                name = variable["name"]
                assert not name.startswith("LOCUTION_") or name in ADDRESS_VARIABLES, name


def test_addresses_are_those_of_the_services(resources: Resources, tmp_path: Path) -> None:
    file = society_of(resources, tmp_path)
    services = {
        (each["metadata"]["name"], port["port"])
        for each in of(resources, "Service")
        for port in each["spec"]["ports"]
    }
    assert (file.xmpp.host, file.xmpp.port) in services
    for pod in pods(resources):
        for container in pod.containers:
            for variable in container.get("env", ()):
                for host, port in re.findall(r"[/@]([a-z]+):(\d+)", variable.get("value", "")):
                    assert (host, int(port)) in services, variable
    assert {file.delivery.store, file.election.lock} == {"redis", "consul"}


def test_images_of_ours_have_the_version_of_the_distribution(resources: Resources) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    found = {
        each["image"] for pod in pods(resources) for each in pod.containers if "locution" in each["image"]
    }
    assert found <= {f"locution:{version}", f"locution:{version}-cuda"}
    for pod in pods(resources):
        for each in pod.containers:
            assert ":" in each["image"], "an image without tag is another one tomorrow"


def learner(overlay: str) -> Pod:
    (found,) = (each for each in pods(rendered(overlay)) if each.workload["metadata"]["name"] == "learner")
    return found


@pytest.mark.parametrize(
    ("overlay", "device"),
    [
        ("base", None),
        ("overlays/dev", None),
        ("overlays/cloud", None),
        ("overlays/gpu", "nvidia.com/gpu"),
        ("overlays/kueue", "nvidia.com/gpu"),
        ("overlays/mig", "nvidia.com/mig-1g.10gb"),
    ],
)
def test_learners_have_the_device_of_the_overlay(overlay: str, device: str | None) -> None:
    pod = learner(overlay)
    limits = pod.containers[0]["resources"]["limits"]
    assert limits.keys() - STANDARD == ({device} if device else set())
    (quota,) = (each["spec"]["hard"] for each in of(rendered(overlay), "ResourceQuota"))
    devices = {name: int(amount) for name, amount in quota.items() if name.startswith("requests.nvidia.com/")}
    assert devices == {"requests.nvidia.com/gpu": 0} | ({f"requests.{device}": 8} if device else {})
    if device:
        assert limits[device] == "1"
        assert pod.spec["nodeSelector"]["nvidia.com/gpu.present"] == "true"
        assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in pod.spec[
            "tolerations"
        ]
        assert pod.containers[0]["image"].endswith("-cuda")
    assert ("nvidia.com/mig.config" in pod.spec.get("nodeSelector", {})) == (overlay == "overlays/mig")


def test_in_dev_there_is_one_of_each() -> None:
    resources = rendered("overlays/dev")
    assert {most_replicas(pod, resources) for pod in pods(resources)} == {1}
    assert of(resources, "HorizontalPodAutoscaler") == []
    (consul,) = (each for each in pods(resources) if str(each) == "StatefulSet consul")
    assert {"name": "SERVERS", "value": "1"} in consul.containers[0]["env"]


def test_as_many_servers_of_consul_are_waited_for_as_there_are(resources: Resources) -> None:
    (consul,) = (each for each in pods(resources) if str(each) == "StatefulSet consul")
    values = {each["name"]: each.get("value") for each in consul.containers[0]["env"]}
    assert values["SERVERS"] == str(consul.workload["spec"]["replicas"])


def test_a_pod_that_comes_anew_is_another_node_of_consul(resources: Resources) -> None:
    for pod in agents(resources):
        (consul,) = (each for each in pod.containers if each["name"] == "consul")
        assert "-node=$(POD_NAME)-$(POD_UID)" in consul["command"], "it would wait for half a minute"


def test_only_the_cloud_is_reached_from_outside(resources: Resources) -> None:
    public = [each for each in of(resources, "Service") if each["spec"].get("type") == "LoadBalancer"]
    is_cloud = resources is rendered("overlays/cloud")
    assert [each["metadata"]["name"] for each in public] == (["prosody-public"] if is_cloud else [])
    assert of(resources, "Ingress") == []
    ports = [port["targetPort"] for each in public for port in each["spec"]["ports"]]
    assert ports == (["xmpp"] if is_cloud else [])


def test_kueue_covers_what_learners_ask_for() -> None:
    resources, pod = rendered("overlays/kueue"), learner("overlays/kueue")
    (local,), (cluster,), (flavor,) = (
        of(resources, kind) for kind in ("LocalQueue", "ClusterQueue", "ResourceFlavor")
    )
    assert pod.labels["kueue.x-k8s.io/queue-name"] == local["metadata"]["name"] != "default"
    assert "kueue.x-k8s.io/queue-name" not in pod.workload["metadata"]["labels"], "it could not be scaled"
    assert local["spec"]["clusterQueue"] == cluster["metadata"]["name"]
    (group,) = cluster["spec"]["resourceGroups"]
    (quotas,) = group["flavors"]
    assert quotas["name"] == flavor["metadata"]["name"]
    assert set(group["coveredResources"]) == {each["name"] for each in quotas["resources"]}
    room = {each["name"]: quantity(each["nominalQuota"]) for each in quotas["resources"]}
    needed: Counter[str] = Counter()
    for container in pod.containers:
        needed.update({name: quantity(each) for name, each in container["resources"]["requests"].items()})
    assert needed.keys() == room.keys(), "Kueue admits nothing that asks for what it does not cover"
    assert all(8 * needed[name] <= room[name] for name in room)
