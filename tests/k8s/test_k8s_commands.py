"""The manifests against the code: modules, flags, ports, addresses, and the time that a pod gets to end."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from services.addresses import METRICS_PORT_OFFSET, PORTS
from services.queue.connection import check_redis_url
from services.queue.train import TrainingWorker
from trainer.cli import app

ROOT = Path(__file__).parents[2]
OPTIONAL = ("scorer", "http")
"""What the base does not run: a scorer of the user's own, and the server for those who do not speak gRPC."""
MODULES = sorted({path.parent.name for path in (ROOT / "services").glob("*/__main__.py")} - set(OPTIONAL))
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("ASSAY_")}
"""Without variables that would stand in for flags."""
TO_END_SECONDS = 10.0
"""What a process may need beyond the grace of its work."""


def service_of(server) -> str:
    """Name of the service that a Deployment runs."""
    return server.main["command"][2].removeprefix("services.")


def flags(container) -> dict[str, str]:
    return dict(argument.removeprefix("--").split("=", 1) for argument in container["args"])


def help_of(arguments: list[str]) -> str:
    """What a program says to `--help` behind these arguments. It refuses values that do not fit; unknown flags pass."""
    command = [sys.executable, "-m", *arguments, "--help"]
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("service", MODULES)
def test_every_service_of_the_code_has_a_deployment_of_its_name(base, service):
    deployments = [document for document in base if document.kind == "Deployment"]
    [server] = [d for d in deployments if d.main["command"] == ["python", "-m", f"services.{service}"]]
    assert server.name == service
    assert server.main["image"].partition(":")[0] == f"assay/{service}"


def test_both_queues_have_a_worker(base):
    commands = [d.main["command"][2:4] for d in base if d.kind == "Deployment"]
    for queue in ("rollouts", "training"):
        assert commands.count(["services.queue.worker", queue]) == 1


def test_workers_probe_looks_for_the_file_that_it_writes(runner):
    if runner.main["command"][2] == "services.queue.worker":
        assert runner.main["readinessProbe"]["exec"]["command"] == ["test", "-f", flags(runner.main)["ready-file"]]


def test_server_listens_on_the_ports_of_the_code(server):
    port = PORTS[service_of(server)]
    given = flags(server.main)
    assert given["host"] == "0.0.0.0"
    assert [int(given["port"]), int(given["metrics-port"])] == [port, port + METRICS_PORT_OFFSET]
    assert server.main["ports"] == [
        {"name": "grpc", "containerPort": port},
        {"name": "metrics", "containerPort": port + METRICS_PORT_OFFSET},
    ]
    [service] = [d.body["spec"] for d in server.all("Service").values() if d.name == server.name]
    assert [item["port"] for item in service["ports"]] == [port]


def test_server_is_probed_by_grpc_on_its_port(server):
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert server.main[probe]["grpc"] == {"port": PORTS[service_of(server)]}


def test_server_is_scraped_on_its_metrics_port(server):
    annotations = server.body["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/scrape"] == "true"
    assert int(annotations["prometheus.io/port"]) == PORTS[service_of(server)] + METRICS_PORT_OFFSET


def test_server_starts_no_more_workers_than_it_has_cores(server):
    """Without the flag there would be a worker for each core of the node, each with its own model."""
    assert 1 <= int(flags(server.main)["workers"]) <= max(1, int(server.main["resources"]["limits"]["cpu"]))


def test_server_has_time_to_drain(server):
    assert float(flags(server.main)["grace"]) + TO_END_SECONDS <= server.pod["terminationGracePeriodSeconds"]


def test_trainer_has_time_for_a_last_checkpoint(base):
    [grace] = [field.default for field in dataclasses.fields(TrainingWorker) if field.name == "grace_seconds"]
    [worker] = [document for document in base if document.name == "training-worker"]
    assert grace + TO_END_SECONDS <= worker.pod["terminationGracePeriodSeconds"]


def test_command_line_is_one_that_the_program_takes(runner):
    arguments = [*runner.main["command"][2:], *runner.main["args"]]
    known = set(re.findall(r"--[a-z-]+", help_of(arguments)))
    assert {argument.partition("=")[0] for argument in arguments if argument.startswith("-")} <= known


def test_addresses_name_services_and_their_ports(document):
    if document.kind != "ConfigMap":
        return
    ports = {d.name: d.body["spec"]["ports"][0]["port"] for d in document.all("Service").values()}
    for variable, address in document.body["data"].items():
        name, _, port = address.partition(":")
        assert variable == f"ASSAY_{name.upper()}_ADDRESS"
        assert ports[name] == int(port)


def test_every_service_has_an_address(base):
    [addresses] = [document.body["data"] for document in base if document.kind == "ConfigMap"]
    assert set(addresses) == {f"ASSAY_{name.upper()}_ADDRESS" for name in MODULES}


def test_redis_address_is_one(pod):
    services = pod.all("Service")
    for container in pod.containers:
        for variable in container.get("env", []):
            if variable["name"] == "REDIS_URL" or variable["name"].endswith("_CACHE_URL"):
                check_redis_url(variable["value"].replace("$(REDIS_PASSWORD)", "0123abcd"))
                host, port = re.fullmatch(r"redis://:\$\(REDIS_PASSWORD\)@(\w+):(\d+)/0", variable["value"]).groups()
                assert services[host].body["spec"]["ports"][0]["port"] == int(port)


def test_variables_are_ones_that_the_code_reads(pod):
    files = [path for package in ("services", "trainer") for path in (ROOT / package).rglob("*.py")]
    code = "".join(path.read_text(encoding="utf-8") for path in files)
    for container in pod.containers:
        for variable in container.get("env", []):
            if variable["name"].startswith("ASSAY_") and f'"{variable["name"]}"' not in code:
                assert f"[{variable['name']}" in help_of([*container["command"][2:]]), "not the variable of a flag either"


def test_script_calls_programs_that_exist_with_options_that_they_have(pod):
    commands = typer.main.get_command(app).commands
    scripts = [container["command"][-1] for container in pod.containers if container["command"][0] == "sh"]
    for line in "\n".join(scripts).splitlines():
        for module in re.findall(r"python -m (\S+)", line):
            assert ROOT.joinpath(*module.split(".")).with_suffix(".py").is_file()
        for name, rest in re.findall(r"assay (\w+) ([^)]*)", line):
            known = {option for parameter in commands[name].params for option in parameter.opts}
            assert {word for word in rest.split() if word.startswith("--")} <= known


def test_sandbox_finds_its_hosts_where_they_listen(base):
    """Candidates and test code run in containers of their own, and the service in neither."""
    [sandbox] = [d for d in base if d.kind == "Deployment" and d.name == "sandbox"]
    hosts = {container["name"]: container for container in sandbox.containers if container is not sandbox.main}
    assert set(hosts) == {"candidates", "checkers"}
    for role, container in hosts.items():
        assert container["command"] == ["python", "-m", "sandbox", "host"]
        assert flags(container) == {"socket": flags(sandbox.main)[f"{role}-socket"], "role": role}
        for place in (container, sandbox.main):
            assert {"name": "sockets", "mountPath": str(Path(flags(container)["socket"]).parent)} in place["volumeMounts"]
    assert len({tuple(mount["name"] for mount in host["volumeMounts"]) for host in hosts.values()}) == 2
