"""An HTTP server in front of real scorers, and a plain client for it."""

import http.client
import json
from dataclasses import dataclass

import pytest


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        return self.json["error"]


def call(address, method, path, body=None, **headers):
    """One request; a body that is no bytes is sent as JSON."""
    host, port = address.rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    try:
        connection.request(method, path, data, {"Content-Type": "application/json", **headers})
        response = connection.getresponse()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    finally:
        connection.close()


@pytest.fixture(scope="session")
def get():
    return lambda address, path, **headers: call(address, "GET", path, **headers)


@pytest.fixture(scope="session")
def post():
    return lambda address, path, body, **headers: call(address, "POST", path, body, **headers)


@pytest.fixture(scope="module")
def scorers(start_service):
    """Math, puppet and brevity by name; they start side by side."""
    commands = {
        "math": ("services.math", "--workers", "1"),
        "puppet": ("services.scorer", "--scorer", "puppet:Puppet", "--workers", "2"),
        "brevity": ("services.scorer", "--scorer", "examples.scorers.brevity:Brevity", "--workers", "1"),
    }
    found = {name: start_service(*command, wait=False) for name, command in commands.items()}
    for scorer in found.values():
        scorer.wait_until_ready()
    return found


@pytest.fixture(scope="module")
def puppet(scorers):
    return scorers["puppet"]


@pytest.fixture(scope="module")
def brevity(scorers):
    return scorers["brevity"]


@pytest.fixture(scope="module")
def server(start_service, scorers):
    """Serves math, puppet, brevity, and `both`, the last two together; `gone` is nobody."""
    addresses = {name: scorer.address for name, scorer in scorers.items()} | {"gone": "127.0.0.1:1"}
    flags = [flag for name, address in addresses.items() for flag in ("--address", f"{name}={address}")]
    flags += ["--route", "both=puppet,brevity", "--route", "half=brevity,gone"]
    flags += ["--weight", "math/correctness=2", "--weight", "puppet/value=1", "--weight", "brevity/short=-0.5"]
    flags += ["--option", 'brevity.keywords=["alpha","beta"]']
    return start_service("services.http", *flags)
