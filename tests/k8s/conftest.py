"""What the Kubernetes tests look at: every rendered document, every pod in one, every Dockerfile."""

from __future__ import annotations

import functools
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

K8S = Path(__file__).parents[2] / "k8s"
BASE = K8S / "base"
NO_KUBECTL = pytest.mark.skip(reason="kubectl is not installed; it renders the manifests")


@dataclass(frozen=True)
class Document:
    """One rendered object and the kustomization it came from."""

    folder: Path
    body: dict[str, Any]

    @property
    def kind(self) -> str:
        return self.body["kind"]

    @property
    def name(self) -> str:
        return self.body["metadata"]["name"]

    @property
    def pod(self) -> dict[str, Any]:
        return self.body["spec"]["template"]["spec"]

    @property
    def labels(self) -> dict[str, str]:
        return self.body["spec"]["template"]["metadata"]["labels"]

    @property
    def main(self) -> dict[str, Any]:
        return self.pod["containers"][0]

    @property
    def containers(self) -> list[dict[str, Any]]:
        return [*self.pod.get("initContainers", []), *self.pod["containers"]]

    def all(self, *kinds: str) -> dict[str, Document]:
        """The objects of these kinds that are in the cluster with this one, by name."""
        return {d.name: d for folder in (BASE, self.folder) for d in render(folder) if d.kind in kinds}


@functools.cache
def render(folder: Path) -> tuple[Document, ...]:
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return tuple(Document(folder, body) for body in yaml.safe_load_all(done.stdout))


def documents() -> Iterator[Document]:
    """Every object of the base, and what each other kustomization adds to it or changes."""
    base = render(BASE)
    yield from base
    known = [document.body for document in base]
    for path in sorted((K8S / "examples").rglob("kustomization.yaml")):
        yield from (document for document in render(path.parent) if document.body not in known)


def pods() -> Iterator[Document]:
    return (document for document in documents() if "template" in document.body.get("spec", {}))


def servers() -> Iterator[Document]:
    """The Deployments of our gRPC services."""
    return (d for d in pods() if any(port["name"] == "grpc" for port in d.main.get("ports", [])))


def runners() -> Iterator[Document]:
    """The pods that run a module of ours by itself, not through a shell."""
    return (document for document in pods() if document.main["command"][:2] == ["python", "-m"])


SOURCES = {"document": documents, "pod": pods, "server": servers, "runner": runners}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for fixture in SOURCES.keys() & set(metafunc.fixturenames):
        if shutil.which("kubectl") is None:
            metafunc.parametrize(fixture, [pytest.param(None, marks=NO_KUBECTL)])
        else:
            metafunc.parametrize(fixture, list(SOURCES[fixture]()), ids=lambda found: f"{found.kind}-{found.name}")


@pytest.fixture
def base() -> tuple[Document, ...]:
    """The objects of `k8s/base`."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed; it renders the manifests")
    return render(BASE)
