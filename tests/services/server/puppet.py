"""Scorers and workers for tests: they do what the test tells them, most of it bad."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from services.verdicts import Component, ErrorReason, ItemError, Verdict

SECRET = "XYZZY-4711"


class PuppetChecks(BaseModel):
    model_config = ConfigDict(extra="forbid")

    limit: int = 0


class Puppet:
    """Obeys `item.response`; anything it does not know is scored 1."""

    name = "puppet"
    version = "7"
    components = (Component("puppet/value", "What it was told."), Component("puppet/batch", "Size of the chunk.", 1, 512))
    checks = PuppetChecks
    batch_size = 4
    timeout_seconds = 5.0

    def score(self, items):
        outcomes = [self.obey(item, len(items)) for item in items]
        if any(item.response == "wrong count" for item in items):
            return outcomes[1:]
        if any(item.response == "a generator" for item in items):
            return iter(outcomes)
        return outcomes

    def obey(self, item, size):
        command, _, rest = item.response.partition(" ")
        match command:
            case "sleep":
                time.sleep(float(rest))
            case "once":  # sleeps for ever the first time
                if not Path(rest).exists():
                    Path(rest).touch()
                    time.sleep(600)
            case "die-once":
                if not Path(rest).exists():
                    Path(rest).touch()
                    os._exit(3)
            case "pid":  # says who runs it, then sleeps with a child process
                child = subprocess.Popen(["sleep", "600"])
                part = Path(rest + ".part")
                part.write_text(f"{os.getpid()} {child.pid}")
                part.rename(rest)
                time.sleep(600)
            case "spin":  # holds the interpreter lock
                return 3 ** (10**9)
            case "segfault":
                ctypes.string_at(0)
            case "exit":
                os._exit(0)
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "system_exit":
                sys.exit(SECRET)
            case "interrupt":
                raise KeyboardInterrupt
            case "raise":
                raise ValueError(f"cannot read {SECRET}")
            case "print":
                print("\x00\x00\x00\x05hello" * 1000)
                sys.stdout.flush()
                os.write(1, b"\x00\x00\x00\x02{}")
            case "value":
                return self.verdict(eval(rest), size)
            case "none":
                return None
            case "undeclared":
                return Verdict({"puppet/other": 1.0})
            case "empty":
                return Verdict({})
            case "label":
                return Verdict({"puppet/value": 1.0}, label=7)
            case "evidence":
                return Verdict({"puppet/value": 1.0}, evidence={"n": 7})
            case "item_error":
                return ItemError(ErrorReason.UNAVAILABLE, "the sandbox is full")
        return self.verdict(1.0, size)

    def verdict(self, value, size):
        return Verdict({"puppet/value": value, "puppet/batch": size}, "done", {"said": "something"})


class Alone(Puppet):
    """One item at a time."""

    batch_size = 1


class Sulking(Puppet):
    """Cannot be made while the file is there."""

    def __init__(self, file):
        if Path(file).exists():
            raise RuntimeError("I will not")


class Machine:
    """A worker that is no scorer."""

    def __init__(self, greeting="hello", file=""):
        self.greeting = greeting
        if file and Path(file).exists():
            raise RuntimeError("the file is there")

    def greet(self, name):
        return f"{self.greeting} {name}"

    def pid(self, _):
        return os.getpid()

    def sleep(self, seconds):
        time.sleep(seconds)
        return seconds

    def count(self, order):
        """Yields 0, 1, ...; goes on after `order["stop"]` once the file is there, or does what the order says instead."""
        for number in range(order["to"]):
            if number == order["stop"]:
                if order.get("die"):
                    os._exit(3)
                if order.get("raise"):
                    raise ValueError(SECRET)
                while not Path(order["file"]).exists():
                    time.sleep(0.01)
            yield number
        return "counted"

    def spawn_and_sleep(self, file):
        return Puppet().obey(type("Order", (), {"response": f"pid {file}"}), 1)

    def spin(self, _):
        return 3 ** (10**9)

    def obey(self, command):
        return Puppet().obey(type("Order", (), {"response": command}), 1) and None

    def unspeakable(self, _):
        return {1, 2}


class NotReady:
    """Ends while it is made."""

    def __init__(self):
        os._exit(9)


class Slow:
    """Takes its time to be made."""

    def __init__(self):
        time.sleep(600)


not_callable = 3
