"""The Dockerfiles against the code: an image holds what its program imports, and torch only where it computes."""

from __future__ import annotations

import ast
import functools
import json
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from services.addresses import METRICS_PORT_OFFSET, PORTS

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONSTRAINTS = (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
OURS = {"protos", "services", "sandbox", "trainer", "examples"}
CHILDREN = {"training": ["trainer"]}
"""Packages that a program runs as child processes, without importing them, by the last word of its command."""

LATE = {"celery": "kombu.transport.redis"}
"""Modules that a library imports by name once it works."""


@dataclass(frozen=True)
class Image:
    """A Dockerfile, taken apart."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.stem

    @functools.cached_property
    def lines(self) -> list[tuple[str, str]]:
        text = self.path.read_text(encoding="utf-8").replace("\\\n", " ")
        return [tuple(line.split(None, 1)) for line in text.splitlines() if line and not line.startswith("#")]

    def all(self, instruction: str) -> list[str]:
        return [rest for word, rest in self.lines if word == instruction]

    @property
    def pip(self) -> list[str]:
        return [line for line in self.all("RUN") if line.startswith("pip install")]

    @property
    def extras(self) -> set[str]:
        return {extra for line in self.pip for extra in ",".join(re.findall(r"'\.\[(.*?)\]'", line)).split(",") if extra}

    @property
    def copied(self) -> list[str]:
        return [source for line in self.all("COPY") for source in line.split()[:-1]]

    @property
    def command(self) -> list[str]:
        [command] = self.all("CMD")
        return json.loads(command)


IMAGES = {path.stem: Image(path) for path in sorted((ROOT / "k8s").rglob("*.Dockerfile"))}
every_image = pytest.mark.parametrize("image", IMAGES.values(), ids=IMAGES.keys())


def source(module: str) -> Path | None:
    """The file of a module of ours."""
    path = ROOT.joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def imports(path: Path) -> set[str]:
    """Modules that a file names in an import, inside functions too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@functools.cache
def reached(package: str) -> frozenset[str]:
    """A package of ours and all modules reached from its files: our own by full name, others by their first name."""
    waiting = list(ROOT.joinpath(*package.split(".")).rglob("*.py"))
    assert waiting, f"there is no package {package}"
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in waiting}
    seen = set(waiting)
    while waiting:
        for name in imports(waiting.pop()):
            first = name.partition(".")[0]
            if first not in OURS:
                names.add(first)
            elif (path := source(name)) is not None:
                names.add(name)
                if path not in seen:
                    seen.add(path)
                    waiting.append(path)
    return frozenset(names)


ENGINES = {"vllm"}
"""Imported where `--engine` chooses it, in an environment of its own; the image has transformers."""


@dataclass(frozen=True)
class Program:
    """What a container of the manifests runs: `python -m MODULE ...` in one of the images."""

    container: dict[str, Any]

    @property
    def image(self) -> Image:
        return IMAGES[self.container["image"].removeprefix("assay/").partition(":")[0]]

    @property
    def reached(self) -> set[str]:
        command = self.container["command"]
        packages = [command[2].removesuffix(".worker"), *CHILDREN.get(command[-1], [])]
        return {name for package in packages for name in reached(package)}


@pytest.fixture
def program(runner):
    return Program(runner.main)


def installed(image: Image) -> set[str]:
    """Distributions that the image's pip lines bring, as far as they are installed here."""
    waiting = [Requirement(text) for extra in image.extras for text in PROJECT["optional-dependencies"][extra]]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if (name, frozenset(requirement.extras)) in seen:
            continue
        seen.add((name, frozenset(requirement.extras)))
        if name == "assay":
            needs = [text for extra in requirement.extras for text in PROJECT["optional-dependencies"][extra]]
        else:
            try:
                needs = metadata.requires(name) or []
            except metadata.PackageNotFoundError:
                continue
        for need in map(Requirement, needs):
            environments = [{"extra": extra} for extra in ("", *requirement.extras)]
            if need.marker is None or any(need.marker.evaluate(environment) for environment in environments):
                waiting.append(need)
    return {name for name, _ in seen}


@every_image
def test_image_runs_as_nobody_in_particular(image):
    assert image.all("FROM") == ["python:3.11-slim-bookworm"]
    assert image.lines[-1][0] == "CMD"
    [user] = image.all("USER")
    uid, gid = (int(part) for part in user.split(":"))
    assert uid > 0 and gid > 0
    assert any(f"useradd --uid {uid} " in line for line in image.all("RUN"))
    words = [word for word, _ in image.lines]
    assert "RUN" not in words[words.index("USER") :]


@every_image
def test_images_sources_exist_and_reach_the_build(image):
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in ignore
    for name in image.copied:
        assert f"!{name.partition('/')[0]}" in ignore
        assert (ROOT / name).exists()


@every_image
def test_image_installs_pinned_extras(image):
    extras = PROJECT["optional-dependencies"].keys()
    assert image.extras and image.extras <= extras
    assert image.extras == {image.name} or image.name not in extras
    assert "constraints.txt" in image.copied
    for line in image.pip:
        assert line.startswith("pip install --no-cache-dir --constraint constraints.txt ")


@every_image
def test_image_installs_torch_first_and_alone(image):
    """A package that asks for torch must find the CPU build there."""
    [pin] = [pin for pin in CONSTRAINTS if pin.startswith("torch==")]
    has_torch = "torch" in installed(image)
    assert image.pip[0].endswith(f" {pin}") == has_torch
    assert ("PIP_EXTRA_INDEX_URL" in image.all("ARG")) == has_torch


@every_image
def test_image_exposes_the_ports_of_its_program(image):
    package, _, service = image.command[2].partition(".")
    serves = package == "services" and service in PORTS
    ports = [PORTS[service], PORTS[service] + METRICS_PORT_OFFSET] if serves else []
    assert [int(port) for line in image.all("EXPOSE") for port in line.split()] == ports


def test_image_is_built_here_in_the_projects_version(pod):
    for container in pod.containers:
        name, _, tag = container["image"].partition(":")
        if name != "redis":
            assert name.removeprefix("assay/") in IMAGES and tag == PROJECT["version"]


def test_every_image_is_used(base):
    workloads = [document for document in base if "template" in document.body.get("spec", {})]
    used = {container["image"].split(":")[0] for document in workloads for container in document.containers}
    assert {f"assay/{image.name}" for image in IMAGES.values() if image.path.parent.name == "images"} | {"redis"} == used


def test_image_has_torch_where_its_program_computes_with_it(program):
    assert ("torch" in installed(program.image)) == ("torch" in program.reached)


def test_image_holds_all_that_its_program_names(program):
    distributions, providers = installed(program.image), metadata.packages_distributions()
    folders = [Path(name) for name in program.image.copied]
    for name in program.reached:
        first = name.partition(".")[0]
        if first in OURS:
            path = Path(*name.split("."))
            assert any(path.is_relative_to(folder) for folder in folders), f"{name} is not copied"
        elif first not in sys.stdlib_module_names | ENGINES:
            found = {canonicalize_name(distribution) for distribution in providers.get(first, [])}
            assert found & distributions, f"{first} is not installed by {sorted(program.image.extras)}"


ONLY_WITH = """
import importlib, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

absent = set(sys.argv[1].split(","))
sys.meta_path.insert(0, Absent())
for name in sys.argv[2:]:
    importlib.import_module(name)
"""


def test_program_starts_with_nothing_but_what_its_image_installs(program):
    """Finds what a library imports and does not ask for. Without the images with torch, which takes long to import."""
    distributions = installed(program.image)
    if "torch" in distributions:
        return
    absent = [
        module
        for module, providers in metadata.packages_distributions().items()
        if not distributions & {canonicalize_name(provider) for provider in providers} and module not in OURS
    ]
    modules = [name for name in program.reached if name.partition(".")[0] in OURS and source(name)]
    modules += [LATE[name] for name in program.reached & LATE.keys()]
    command = [sys.executable, "-c", ONLY_WITH, ",".join(absent), *modules]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_program_knows_where_to_find_what_it_calls(program):
    files = [path for name in program.reached if (path := source(name)) and name != "services.addresses"]
    calls = any("address_of(" in path.read_text(encoding="utf-8") for path in files)
    assert bool(program.container.get("envFrom")) == calls
    variables = {variable["name"] for variable in program.container.get("env", [])}
    assert ("REDIS_URL" in variables) == ("services.queue.connection" in program.reached)
