"""Imports run one way, and light modules stay light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "sandbox": {"sandbox"},
    "protos": {"protos"},
    "services": {"services", "sandbox", "protos"},
    "trainer": {"trainer", "services"},
}


def imported_roots(path: Path) -> set[str]:
    roots: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            roots |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.relative_to(ROOT)}:{node.lineno}: imports are absolute here"
            roots.add((node.module or "").split(".")[0])
    return roots


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_packages_import_one_way(package):
    files = list((ROOT / package).rglob("*.py"))
    assert files
    for path in files:
        wrong = (imported_roots(path) & set(MAY_IMPORT)) - MAY_IMPORT[package]
        assert not wrong, f"{path.relative_to(ROOT)} imports {sorted(wrong)}"


def test_sandbox_needs_only_the_standard_library():
    for path in (ROOT / "sandbox").rglob("*.py"):
        foreign = imported_roots(path) - set(sys.stdlib_module_names) - {"sandbox"}
        assert not foreign, f"{path.relative_to(ROOT)} imports {sorted(foreign)}"


@pytest.mark.parametrize(
    "module", ["services.client.scoring", "services.client.rollout", "services.stack", "services.adapters.trl", "trainer.config", "trainer.cli"]
)
def test_light_modules_do_not_load_torch(module):
    script = f"import sys, {module}; heavy = {{'torch', 'transformers', 'deepspeed', 'sympy'}} & set(sys.modules); assert not heavy, heavy"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
