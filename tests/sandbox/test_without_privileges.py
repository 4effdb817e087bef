"""The sandbox where the machine permits less: as an ordinary user, without namespaces, with an older Landlock or none."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sandbox.doctor import examine
from sandbox.inside.confine import SEALED
from sandbox.inside.jail import JAIL
from sandbox.inside.landlock import LANDLOCK
from sandbox.inside.namespaces import NAMESPACES, OWN_USER, USER_NAMESPACE
from sandbox.jobs import Kind
from sandbox.results import Ending

if TYPE_CHECKING:
    from conftest import Box

ROOT = Path(__file__).resolve().parents[2]
NO_NAMESPACES = (NAMESPACES, USER_NAMESPACE)

# A user namespace of our own, in which no further namespaces may be made, and no capabilities.
NO_USER_NAMESPACES = """
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
kernel.keep_capabilities()
"""
NOBODY = """
import os, sys
os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
"""
GO_ON = "os.chdir('/')\nos.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
FILES = ("test_execute.py", "test_hostile.py", "test_syscalls.py", "test_trial.py", "test_servers.py", "test_disk.py")
MUST_HOLD = (
    "cancelling_kills or daemons or whole_tree or killing_whatever or owners_files or interpreters_files or no_network or "
    "cannot_be_raised or descriptor_of_the_sandbox or nested or not_permitted_fails or right_passes or memory_of_a_later or "
    "room_on_the_disk or temporary_files"
)
"""What must hold everywhere; in kinds that are not there it is skipped."""


def run(give_up: str, *arguments: str, interpreter: str = sys.executable) -> str:
    packages = str(Path(pytest.__file__).parent.parent)
    env = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{packages}", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [interpreter, "-c", give_up + GO_ON, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
        env=env,
    )
    if "kernel.unshare" in done.stderr or "max_user_namespaces" in done.stderr:
        pytest.skip("this machine does not let privileges be given up in a user namespace")
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return done.stdout


def test_the_doctor_says_what_is_missing_and_what_that_leaves_open() -> None:
    text = run(NO_USER_NAMESPACES, "-m", "sandbox", "doctor")
    assert "not permitted here:\n  " in text
    assert "user namespace: " in text
    assert "no namespaces: only the system-call filter keeps runs from other processes and the network" in text
    assert "runs share a user" in text
    assert "could outlive their end" in text
    assert text.endswith("the self-test found nothing open\n")


def for_everybody(path: str) -> bool:
    """Whether any user may get there."""
    place = Path(path).resolve()
    return all(each.exists() and each.stat().st_mode & 0o001 for each in (place, *place.parents))


def run_tests(give_up: str, **more: str) -> None:
    paths = [str(ROOT / "tests" / "sandbox" / test) for test in FILES]
    options = ["-x", "-p", "no:cacheprovider", "-k", MUST_HOLD, "-c", str(ROOT / "pyproject.toml"), f"--rootdir={ROOT}"]
    with tempfile.TemporaryDirectory(prefix="assay-test-") as folder:
        Path(folder).chmod(0o777)
        text = run(give_up, "-m", "pytest", *options, f"--basetemp={folder}/base", *paths, **more)
    assert " passed" in text and "failed" not in text
    assert int(text.rpartition(" passed")[0].split()[-1]) > 40


def test_what_must_hold_holds_without_namespaces_and_capabilities() -> None:
    run_tests(NO_USER_NAMESPACES)


def test_what_must_hold_holds_for_an_ordinary_user() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else; the other tests say it of this user")
    interpreters = (sys.executable, f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}")
    interpreter = next(filter(for_everybody, interpreters), None)
    if (
        interpreter is None
        or not for_everybody(str(ROOT / "sandbox"))
        or not for_everybody(str(Path(pytest.__file__).parent))
    ):
        pytest.skip("other users cannot read the interpreter, its packages or this tree")
    run_tests(NOBODY, interpreter=interpreter)


@pytest.mark.parametrize(
    ("without", "abi"),
    [
        (NO_NAMESPACES, None),
        (NO_NAMESPACES, 1),
        (NO_NAMESPACES, 4),
        ((*NO_NAMESPACES, OWN_USER), 1),
        ((NAMESPACES,), None),
        ((JAIL,), 4),
        ((LANDLOCK,), None),
        ((OWN_USER,), None),
    ],
)
def test_every_combination_of_layers_holds(
    make_box: Callable[..., Box], without: tuple[str, ...], abi: int | None
) -> None:
    """By the self-test, for the kinds that are there; the sealed ones always are."""
    box = make_box(without=without, landlock_abi=abi)
    examination = box.do(examine(box.sandbox, (Kind.PLAIN, Kind.CHECKER, Kind.FILES, Kind.SUBPROCESS)))
    assert examination.failures == ()
    assert examination.is_sound
    for finding in examination.findings:
        assert finding.forbidden or not finding.broken
        assert finding.kind not in SEALED or not finding.broken
        assert not set(finding.layers) & set(without)


@pytest.mark.parametrize("kind", [Kind.FILES, Kind.SUBPROCESS])
def test_without_a_jail_files_are_bounded_and_removed(
    make_box: Callable[..., Box], kind: Kind, new_scratch: Callable[[], set[Path]]
) -> None:
    box = make_box(without=(JAIL,))
    flood = "n = 0\nwhile True:\n open(f'{n}', 'wb').write(b'x' * (1 << 16))\n n += 1"
    assert box.run(flood, kind=kind, cpu_seconds=20.0, wall_seconds=60.0).ending in (Ending.MEMORY_LIMIT, Ending.RAISED)
    many = "n = 0\nwhile True:\n open(f'{n}', 'w').close()\n n += 1"
    assert box.run(many, kind=kind, cpu_seconds=20.0, wall_seconds=60.0).ending in (Ending.MEMORY_LIMIT, Ending.RAISED)
    nested = "import os\nfor i in range(500):\n os.mkdir('d'); os.chdir('d')\nos.chmod('.', 0)\nprint('deep')"
    result = box.run(nested, kind=kind, cpu_seconds=5.0)
    assert result.ending is Ending.MEMORY_LIMIT or result.stdout == b"deep\n", result
    assert not new_scratch()
