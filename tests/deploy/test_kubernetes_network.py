"""Who may talk to whom by the NetworkPolicies of deploy/kubernetes."""

from __future__ import annotations

from tests.deploy.manifests import Pod, Resource, Resources, named, of, pods


def test_policies_name_pods_and_ports_that_are_there(resources: Resources) -> None:
    every = pods(resources)
    for policy in of(resources, "NetworkPolicy"):
        spec = policy["spec"]
        meant = [pod for pod in every if pod.is_selected(spec["podSelector"])]
        assert meant, named(policy)
        assert ("ingress" in spec) <= ("Ingress" in spec["policyTypes"]), named(policy)
        assert ("egress" in spec) <= ("Egress" in spec["policyTypes"]), named(policy)
        for rule in spec.get("ingress", ()):
            _some(every, rule["from"], policy)
            for port in rule["ports"]:
                assert all(pod.listens(port["port"], port.get("protocol", "TCP")) for pod in meant), named(
                    policy
                )
        for rule in spec.get("egress", ()):
            for pod in _some(every, rule["to"], policy):
                for port in rule["ports"]:
                    assert pod.listens(port["port"], port.get("protocol", "TCP")), named(policy)


def _some(every: list[Pod], peers: list[Resource], policy: Resource) -> list[Pod]:
    """The pods of ours that stand in a rule; each selector of our own namespace must mean some."""
    found = []
    for peer in peers:
        if "podSelector" in peer and "namespaceSelector" not in peer:
            meant = [pod for pod in every if pod.is_selected(peer["podSelector"])]
            assert meant, named(policy)
            found += meant
    return found


def test_nothing_is_let_through_that_is_not_named(resources: Resources) -> None:
    (nothing,) = (each for each in of(resources, "NetworkPolicy") if each["metadata"]["name"] == "nothing")
    assert nothing["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


AGENTS = ("directory", "coordinator", "learner")
GOSSIPING = ("consul", *AGENTS)

CONNECTIONS = {
    *((one, "prosody", 5222, "TCP") for one in (*AGENTS, "console")),
    *((one, "redis", 6379, "TCP") for one in (*AGENTS, "console")),
    *((one, "consul", 8300, "TCP") for one in GOSSIPING),
    *((one, other, 8301, way) for one in GOSSIPING for other in GOSSIPING for way in ("TCP", "UDP")),
    ("console", "consul", 8500, "TCP"),
}
"""Who calls whom, on which port."""


def test_whoever_must_talk_may_and_nobody_else(resources: Resources) -> None:
    every = {pod.workload["metadata"]["name"]: pod for pod in pods(resources)}
    found = set()
    for one, caller in every.items():
        for other, callee in every.items():
            for protocol in ("TCP", "UDP"):
                for _name, port in callee.ports(protocol):
                    if _may(resources, caller, callee, port, protocol):
                        found.add((one, other, port, protocol))
    assert found == CONNECTIONS


def _may(resources: Resources, caller: Pod, callee: Pod, port: int, protocol: str) -> bool:
    """Whether both ends are allowed a connection."""

    def lets(here: Pod, there: Pod, rules: str, side: str) -> bool:
        return any(
            any("podSelector" in each and there.is_selected(each["podSelector"]) for each in rule[side])
            and any(
                entry.get("protocol", "TCP") == protocol
                and any(
                    number == port and entry["port"] in {name, number}
                    for name, number in callee.ports(protocol)
                )
                for entry in rule["ports"]
            )
            for policy in of(resources, "NetworkPolicy")
            if here.is_selected(policy["spec"]["podSelector"])
            for rule in policy["spec"].get(rules, ())
        )

    return lets(caller, callee, "egress", "to") and lets(callee, caller, "ingress", "from")
