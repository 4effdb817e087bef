"""The sandbox where the machine permits no layer at all, as in a container without privileges: what must hold there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MUST_HOLD = "daemons or whole_tree or memory_is or descriptor_of or nested or owner"

# A user namespace of our own, in which no further namespaces may be made, and no capabilities.
GIVE_UP_PRIVILEGES = """
import os, sys
from sandbox.inside import kernel
user, group = os.geteuid(), os.getegid()
kernel.unshare(kernel.CLONE_NEWUSER)
for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
    with open(f"/proc/self/{name}", "w") as file:
        file.write(text)
with open("/proc/sys/user/max_user_namespaces", "w") as file:
    file.write("0")
kernel.forbid_new_privileges()
kernel.drop_capabilities()
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def run(*arguments: str) -> str:
    command = [sys.executable, "-c", GIVE_UP_PRIVILEGES, *arguments]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False, env={**os.environ}
    )
    if "unshare" in done.stderr or "max_user_namespaces" in done.stderr:
        pytest.skip("this machine does not let privileges be given up in a user namespace")
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr
    return done.stdout


def test_the_doctor_says_what_is_missing_and_what_that_leaves_open() -> None:
    text = run("-m", "sandbox", "doctor")
    assert "not permitted here:\\n  " in text.replace("\n", "\\n")
    assert "user namespace: " in text
    assert "the network can be used" in text
    assert "files that the program's user may read can be read" in text
    assert "the number of processes is not limited" in text


def test_trees_still_die_and_limits_still_hold() -> None:
    text = run(
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "tests/sandbox/test_hostile.py",
        "tests/sandbox/test_execute.py",
        "-k",
        MUST_HOLD,
    )
    assert " passed" in text
    assert "failed" not in text
