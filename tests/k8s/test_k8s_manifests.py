"""The manifests by themselves: they render, fit Kubernetes' schemas, refer to what exists, and every pod is hardened."""

from __future__ import annotations

import re
from collections import Counter

import kubernetes_validate

SUFFIXES = {"": 1.0, "m": 1e-3, "Mi": 2.0**20, "Gi": 2.0**30}


def quantity(text: str) -> float:
    """Cores or bytes of a Kubernetes quantity."""
    number, suffix = re.fullmatch(r"(\d+)([A-Za-z]*)", text).groups()
    return float(number) * SUFFIXES[suffix]


def test_document_fits_the_schema(document):
    kubernetes_validate.validate(document.body, kubernetes_validate.latest_version(), strict=True)


def test_base_has_all_parts(base):
    parts = Counter(document.kind for document in base)
    assert parts["Namespace"] == 1 and parts["StatefulSet"] == 1 and parts["Deployment"] >= 9
    namespaces = {d.body["metadata"].get("namespace") for d in base if d.kind != "Namespace"}
    assert namespaces == {"assay"}


def test_pod_may_do_nothing_it_need_not(pod):
    assert pod.pod["automountServiceAccountToken"] is False
    assert pod.pod["enableServiceLinks"] is False, "service links set variables like those that flags read"
    context = pod.pod["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] > 0 and context["runAsGroup"] > 0
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.pod.keys()
    for container in pod.containers:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_pod_says_what_it_needs(pod):
    for container in pod.containers:
        requests, limits = container["resources"]["requests"], container["resources"]["limits"]
        for measure in ("cpu", "memory"):
            assert 0 < quantity(requests[measure]) <= quantity(limits[measure])


def test_pod_can_write_where_its_programs_write(pod):
    """The root is read-only: without a mount at /tmp Python's tempfile fails. The queue's Redis writes its data and nothing else."""
    for container in pod.containers:
        place = "/data" if pod.kind == "StatefulSet" else "/tmp"
        mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
        assert not mounts[place].get("readOnly")


def test_pods_volumes_exist(pod):
    volumes = {volume["name"]: volume for volume in pod.pod.get("volumes", [])}
    claims = {claim["metadata"]["name"] for claim in pod.body["spec"].get("volumeClaimTemplates", [])}
    for container in pod.containers:
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes.keys() | claims
    for volume in volumes.values():
        assert volume.keys() - {"name"} <= {"emptyDir", "persistentVolumeClaim", "configMap", "secret"}
        if "persistentVolumeClaim" in volume:
            assert volume["persistentVolumeClaim"]["claimName"] in pod.all("PersistentVolumeClaim")


def test_only_trainers_write_to_the_shared_volume(pod):
    for container in pod.containers:
        for mount in container["volumeMounts"]:
            if mount["name"] == "shared":
                assert container["image"].startswith("assay/trainer:") != mount.get("readOnly", False)


def test_workload_selects_its_own_pods(document):
    if document.kind in ("Deployment", "StatefulSet"):
        selector = document.body["spec"]["selector"]["matchLabels"]
        workloads = document.all("Deployment", "StatefulSet", "Job").values()
        assert [d.name for d in workloads if selector.items() <= d.labels.items()] == [document.name]


def test_service_is_headless_and_meets_one_workload(document):
    """A gRPC client holds one connection: behind a cluster IP it would stay with one pod for ever."""
    if document.kind != "Service":
        return
    spec = document.body["spec"]
    assert spec["clusterIP"] == "None"
    workloads = document.all("Deployment", "StatefulSet").values()
    [workload] = [d for d in workloads if spec["selector"].items() <= d.labels.items()]
    ports = {port["name"]: port["containerPort"] for port in workload.main["ports"]}
    for port in spec["ports"]:
        # headless: no proxy translates ports, so they must be equal
        assert ports[port["targetPort"]] == port["port"]


def test_pods_variables_come_from_what_exists(pod):
    for container in pod.containers:
        for source in container.get("envFrom", []):
            assert source["configMapRef"]["name"] in pod.all("ConfigMap")
        defined: set[str] = set()
        for variable in container.get("env", []):
            # $(NAME) is replaced only where NAME was defined above
            assert set(re.findall(r"\$\((\w+)\)", variable.get("value", ""))) <= defined
            defined.add(variable["name"])
            secret = variable.get("valueFrom", {}).get("secretKeyRef")
            assert secret in (None, {"name": "redis", "key": "password"})


def test_judged_programs_reach_nothing(base):
    [policy] = [document.body["spec"] for document in base if document.kind == "NetworkPolicy"]
    assert policy["podSelector"] == {"matchLabels": {"app": "sandbox"}}
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"} and "egress" not in policy
    callers = [rule.get("from") for rule in policy["ingress"] if {"port": "grpc"} in rule["ports"]]
    assert callers == [[{"podSelector": {"matchLabels": {"app": "code"}}}]]
    [sandbox] = [document for document in base if document.name == "sandbox" and document.kind == "Deployment"]
    assert "secretKeyRef" not in str(sandbox.body)
