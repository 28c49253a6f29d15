"""What deploy/kubernetes says, rendered by kustomize, against the schemas of the API and laws of ours."""

from __future__ import annotations

import re
from collections import Counter
from fractions import Fraction
from functools import cache
from pathlib import Path

import kubernetes_validate
import pytest

from society.launcher import STOP_WITHIN
from society.metrics import Metrics
from tests.deploy.manifests import (
    KUBERNETES,
    OVERLAYS,
    ROOT,
    Resource,
    Resources,
    agents,
    most_replicas,
    named,
    of,
    pods,
    quantity,
    rendered,
    secrets,
    society_of,
)

VERSIONS = list(dict.fromkeys(kubernetes_validate.utils.all_versions()))

NO_SCHEMA = frozenset({"ResourceFlavor", "ClusterQueue", "LocalQueue"})
"""Kinds of Kueue, of which Kubernetes knows nothing."""

STANDARD = frozenset({"cpu", "memory"})


@pytest.mark.parametrize("version", VERSIONS)
def test_the_schemas_of_kubernetes_know_every_field(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Otherwise all definitions of the API are read anew for each resource.
    monkeypatch.setattr(kubernetes_validate.utils, "schema_contents", _schema)
    every: list[Resource] = []
    for overlay in OVERLAYS:
        every += (each for each in rendered(overlay) if each not in every)
    every += secrets().values()
    for each in every:
        if each["kind"] not in NO_SCHEMA:
            kubernetes_validate.validate(dict(each), version, strict=True)


_schema = cache(kubernetes_validate.utils.schema_contents)


def test_everything_has_one_name_and_the_namespace(resources: Resources) -> None:
    names = Counter(named(each) for each in resources)
    assert [name for name, count in names.items() if count > 1] == []
    elsewhere = {"Namespace", "ClusterQueue", "ResourceFlavor"}  # they belong to the whole cluster
    for each in resources:
        assert each["metadata"].get("namespace") == (None if each["kind"] in elsewhere else "locution"), each


def test_selectors_match_their_templates(resources: Resources) -> None:
    for pod in pods(resources):
        if pod.workload["kind"] != "Job":  # a Job makes its own
            assert pod.is_selected(pod.workload["spec"]["selector"]), pod
        for spread in pod.spec.get("topologySpreadConstraints", ()):
            assert pod.is_selected(spread["labelSelector"]), pod


def test_no_two_workloads_claim_the_same_pods(resources: Resources) -> None:
    for pod in pods(resources):
        if pod.workload["kind"] != "Job":
            meant = [each for each in pods(resources) if each.is_selected(pod.workload["spec"]["selector"])]
            assert meant == [pod]


def test_every_mount_has_its_volume_and_every_volume_a_mount(resources: Resources) -> None:
    for pod in pods(resources):
        claims = pod.workload["spec"].get("volumeClaimTemplates", ())
        volumes = [each["name"] for each in (*pod.spec.get("volumes", ()), *(c["metadata"] for c in claims))]
        mounts = [mount["name"] for each in pod.containers for mount in each.get("volumeMounts", ())]
        assert len(volumes) == len(set(volumes)), pod
        assert set(mounts) == set(volumes), pod
        for container in pod.containers:
            paths = [mount["mountPath"] for mount in container.get("volumeMounts", ())]
            assert len(paths) == len(set(paths)), pod


def test_what_pods_refer_to_is_there(resources: Resources) -> None:
    made = {
        name: set(each.get("data", {})) | set(each.get("stringData", {})) for name, each in secrets().items()
    }
    maps = {each["metadata"]["name"] for each in of(resources, "ConfigMap")}
    claims = {each["metadata"]["name"] for each in of(resources, "PersistentVolumeClaim")}
    for workload in of(resources, "StatefulSet"):
        for claim in workload["spec"].get("volumeClaimTemplates", ()):
            claims.add(f"{claim['metadata']['name']}-{workload['metadata']['name']}-0")
    for pod in pods(resources):
        for volume in pod.spec.get("volumes", ()):
            if "configMap" in volume:
                assert volume["configMap"]["name"] in maps, pod
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in claims, pod
            if "secret" in volume:
                keys = {item["key"] for item in volume["secret"].get("items", ())}
                assert keys <= made[volume["secret"]["secretName"]], pod
        for container in pod.containers:
            for source in container.get("envFrom", ()):
                assert source["secretRef"]["name"] in made, pod
            for variable in container.get("env", ()):
                wanted = variable.get("valueFrom", {}).get("secretKeyRef")
                if wanted and not wanted.get("optional"):
                    assert wanted["key"] in made[wanted["name"]], pod


def test_every_secret_is_documented_and_used(resources: Resources) -> None:
    used = set(re.findall(r"'(?:secretName|name)': '([a-z-]+)'", str([pod.spec for pod in pods(resources)])))
    page = (ROOT / "docs" / "kubernetes.md").read_text()
    for name, secret in secrets().items():
        assert name in used
        assert f"`{name}`" in page
        assert secret["metadata"]["namespace"] == "locution"
    assert of(resources, "Secret") == [], "secrets are made by whoever launches, and stand in no repository"


def test_two_sets_of_secrets_share_nothing() -> None:
    one, other = secrets(), secrets(run=2)
    for name in one:
        for part in ("data", "stringData"):
            for key, value in one[name].get(part, {}).items():
                assert isinstance(value, str)
                assert value != other[name][part][key]


def test_variables_name_only_variables_before_them(resources: Resources) -> None:
    for pod in pods(resources):
        for container in pod.containers:
            known: set[str] = set()
            for variable in container.get("env", ()):
                assert set(re.findall(r"\$\((\w+)\)", variable.get("value", ""))) <= known, pod
                known.add(variable["name"])
            assert set(re.findall(r"\$\((\w+)\)", " ".join(container["command"]))) <= known, pod


def test_probes_ask_ports_that_are_declared(resources: Resources) -> None:
    for pod in pods(resources):
        for container in pod.containers:
            own = {
                name for port in container.get("ports", ()) for name in (port["name"], port["containerPort"])
            }
            for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
                asks = container.get(kind, {})
                for way in ("httpGet", "tcpSocket"):
                    assert way not in asks or asks[way]["port"] in own, (str(pod), kind)


def test_ports_have_names_of_their_own(resources: Resources) -> None:
    for pod in pods(resources):
        ports = [*pod.ports("TCP"), *pod.ports("UDP")]
        assert len({name for name, _ in ports}) == len(ports), pod


def test_agents_are_asked_whether_they_live_and_can_work(resources: Resources, tmp_path: Path) -> None:
    file = society_of(resources, tmp_path)
    for pod in agents(resources):
        (agent,) = (each for each in pod.containers if each["name"] == "agent")
        assert agent["livenessProbe"]["httpGet"]["path"] == "/health/live"
        assert agent["startupProbe"]["httpGet"]["path"] == "/health/live"
        assert agent["readinessProbe"]["httpGet"]["path"] == "/health/ready"
        assert pod.listens(file.metrics.port)
        assert pod.template["metadata"]["annotations"]["prometheus.io/port"] == str(file.metrics.port)
        for kind in ("livenessProbe", "startupProbe", "readinessProbe"):
            assert agent[kind]["timeoutSeconds"] > 3  # the endpoint takes 2 s to say that the store is away
    assert file.metrics.enabled
    assert file.metrics.host == "0.0.0.0"


def test_requests_are_within_limits(resources: Resources) -> None:
    for pod in pods(resources):
        for container in pod.containers:
            requests, limits = container["resources"]["requests"], container["resources"]["limits"]
            assert requests.keys() == limits.keys(), pod
            assert requests.keys() >= STANDARD, pod
            for name, asked in requests.items():
                assert quantity(asked) <= quantity(limits[name]), (str(pod), name)
                if name not in STANDARD:
                    assert asked == limits[name], "devices are not shared"


def test_all_that_may_ever_run_is_within_the_quota(resources: Resources) -> None:
    (quota,) = (each["spec"]["hard"] for each in of(resources, "ResourceQuota"))
    total: Counter[str] = Counter()
    for pod in pods(resources):
        count = most_replicas(pod, resources)
        total["pods"] += count
        for container in pod.containers:
            for part in ("requests", "limits"):
                for name, amount in container["resources"][part].items():
                    if part == "requests" or name in STANDARD:
                        total[f"{part}.{name}"] += count * quantity(amount)  # type: ignore[assignment]
        for claim in pod.workload["spec"].get("volumeClaimTemplates", ()):
            total["persistentvolumeclaims"] += count
            _add_storage(total, claim["spec"], count)
    for claim in of(resources, "PersistentVolumeClaim"):
        total["persistentvolumeclaims"] += 1
        _add_storage(total, claim["spec"], 1)
    for name, amount in total.items():
        assert Fraction(amount) <= quantity(quota[name]), name


def _add_storage(total: Counter[str], spec: Resource, count: int) -> None:
    amount = count * quantity(spec["resources"]["requests"]["storage"])
    total["requests.storage"] += amount  # type: ignore[assignment]
    if "storageClassName" in spec:
        name = f"{spec['storageClassName']}.storageclass.storage.k8s.io/requests.storage"
        total[name] += amount  # type: ignore[assignment]


def test_nobody_is_root_or_may_become_it(resources: Resources) -> None:
    for pod in pods(resources):
        common = pod.spec["securityContext"]
        assert common["runAsNonRoot"] is True, pod
        assert common["seccompProfile"] == {"type": "RuntimeDefault"}, pod
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.spec.keys(), pod
        for container in pod.containers:
            own = container["securityContext"]
            assert own.get("runAsUser", common["runAsUser"]) > 0, pod
            assert own["allowPrivilegeEscalation"] is False, pod
            assert own["readOnlyRootFilesystem"] is True, pod
            assert own["capabilities"] == {"drop": ["ALL"]}, pod


def test_each_workload_has_an_account_that_may_nothing(resources: Resources) -> None:
    accounts = {each["metadata"]["name"]: each for each in of(resources, "ServiceAccount")}
    names = [pod.spec["serviceAccountName"] for pod in pods(resources)]
    assert sorted(names) == sorted(accounts)
    assert all(each["automountServiceAccountToken"] is False for each in accounts.values())
    assert all(pod.spec["automountServiceAccountToken"] is False for pod in pods(resources))
    assert of(resources, "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding") == []


def test_pods_have_time_to_drain(resources: Resources) -> None:
    for pod in pods(resources):
        assert pod.spec["terminationGracePeriodSeconds"] == 15 > STOP_WITHIN
        for container in pod.containers:
            if "preStop" in container.get("lifecycle", {}):
                _sleep, seconds = container["lifecycle"]["preStop"]["exec"]["command"]
                assert int(seconds) < pod.spec["terminationGracePeriodSeconds"]


def test_disruption_budgets_mean_pods_that_may_go(resources: Resources) -> None:
    budgets = of(resources, "PodDisruptionBudget")
    assert {each["metadata"]["name"] for each in budgets} == {"consul", "coordinator", "learner"}
    for budget in budgets:
        meant = [pod for pod in pods(resources) if pod.is_selected(budget["spec"]["selector"])]
        assert len(meant) == 1, named(budget)
        assert budget["spec"]["maxUnavailable"] == 1, "else a machine could never be drained"


def test_services_mean_pods_that_listen(resources: Resources) -> None:
    services = {each["metadata"]["name"]: each["spec"] for each in of(resources, "Service")}
    for name, service in services.items():
        meant = [pod for pod in pods(resources) if pod.is_selected({"matchLabels": service["selector"]})]
        assert meant, name
        for pod in meant:
            for port in service["ports"]:
                assert pod.listens(port["targetPort"], port.get("protocol", "TCP")), (name, str(pod))
    for workload in of(resources, "StatefulSet"):
        assert services[workload["spec"]["serviceName"]]["clusterIP"] == "None", named(workload)


def test_autoscalers_scale_what_is_there_by_a_metric_that_is_there(resources: Resources) -> None:
    known = {each.name for each in Metrics().described()}
    adapter = (KUBERNETES / "prometheus-adapter.yaml").read_text()
    for scaler in of(resources, "HorizontalPodAutoscaler"):
        spec = scaler["spec"]
        (pod,) = (
            each
            for each in pods(resources)
            if (each.workload["kind"], each.workload["metadata"]["name"])
            == (spec["scaleTargetRef"]["kind"], spec["scaleTargetRef"]["name"])
        )
        assert "replicas" not in pod.workload["spec"], (
            "else each kubectl apply sets back what the autoscaler did"
        )
        assert 1 <= spec["minReplicas"] < spec["maxReplicas"]
        for metric in spec["metrics"]:
            assert metric["pods"]["metric"]["name"] in known
            assert metric["pods"]["metric"]["name"] in adapter
