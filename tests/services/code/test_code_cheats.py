"""Wrong answers to `solve(n) = n * n` that try to pass for right, as programs (compared here or by a checker program), as
functions, and under test code (that is read, or run).

Each must fail, and honest answers judged beside them must pass.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from services.verdicts import Item, Outcome, Verdict

ROOT = Path(__file__).resolve().parents[3]
NUMBERS = (3, -7, 12)
LIMITS = {"cpu_seconds": 0.3, "memory_bytes": 300 << 20}
CHECKS = {
    "program": {"cases": [{"stdin": f"{n}\n", "stdout": f"{n * n}\n"} for n in NUMBERS], **LIMITS},
    "function": {"entry_point": "solve", "calls": [{"args": [n], "expected": n * n} for n in NUMBERS], **LIMITS},
    "test": {
        "entry_point": "solve",
        "test": "def check(candidate):\n" + "".join(f"    assert candidate({n}) == {n * n}\n" for n in NUMBERS),
        **LIMITS,
    },
    "trial": {
        "entry_point": "solve",
        "test": f"def check(candidate):\n    for n in {NUMBERS}:\n        assert candidate(n) == n * n\n",
        **LIMITS,
    },
    "pytest": {
        "entry_point": "solve",
        "test": f"from solution import solve\ndef test_it():\n    for n in {NUMBERS}:\n        assert solve(n) == n * n\n",
        **LIMITS,
    },
}
CHECKS["checker"] = {
    **CHECKS["program"],
    "checker": "def check(stdin, expected, got):\n    return got.split() == [str(int(stdin) ** 2)]",
}
PROGRAMS = ("program", "checker")
MAIN = "\nprint(solve(int(input())))\n"

FORGE = """
import os
def forge(fd, *fields):
    frame = " ".join(str(len(field)) for field in fields).encode() + b"\\n" + "".join(fields).encode()
    for body in (frame, " ".join(fields).encode()):
        try: os.write(fd, len(body).to_bytes(4, "big") + body)
        except OSError: pass
"""

CHEATS = {
    "exits in the call": "import sys\ndef solve(n): sys.exit(0)",
    "exits at once in the call": "import os\ndef solve(n): os._exit(0)",
    "exits at import": "import os\nos._exit(0)",
    "thread that exits": "import os, threading, time\ndef solve(n):\n threading.Thread(target=os._exit, args=(0,)).start()\n time.sleep(1)",
    "exits on the way out": "import atexit, os\natexit.register(os._exit, 0)\ndef solve(n): raise SystemExit",
    "exits by a signal": "import os, signal\nsignal.signal(14, lambda *a: os._exit(0))\nsignal.setitimer(0, .02)\ndef solve(n):\n while True: pass",
    "becomes another program": "import os\ndef solve(n): os.execv('/bin/true', ['true'])",
    "equal to everything": "class E:\n def __eq__(s, o): return True\n def __ne__(s, o): return False\n __hash__ = object.__hash__\ndef solve(n): return E()",
    "int that is equal to everything": "class I(int):\n def __eq__(s, o): return True\n def __hash__(s): return 0\ndef solve(n): return I(0)",
    "int with the wrong repr": "class I(int):\n def __repr__(s): return '9'\n __str__ = __repr__\ndef solve(n): return I(0)",
    "str that answers for an int": "class S(str):\n def __eq__(s, o): return True\n __hash__ = str.__hash__\ndef solve(n): return S('x')",
    "list subclass": "class L(list):\n def __eq__(s, o): return True\ndef solve(n): return L([1])",
    "reflected comparison": "class R:\n def __eq__(s, o): return NotImplemented\n def __req__(s, o): return True\ndef solve(n): return R()",
    "not implemented": "def solve(n): return NotImplemented",
    "float that is close": "def solve(n): return n * n + 1e-12",
    "nan": "def solve(n): return float('nan')",
    "true": "def solve(n): return True",
    "peeks in frames": """
import sys
def solve(n):
    frame = sys._getframe()
    while frame:
        for value in [*frame.f_locals.values(), *frame.f_globals.values()]:
            if type(value) is int and value not in (0, 1, n) and n and value % n == 0: return value
            if type(value) is str and 'candidate' in value: return eval(value.split('==')[1].split()[0])
        frame = frame.f_back
    return 0""",
    "patches builtins": """
import builtins
def solve(n): return 0
builtins.len = builtins.abs = lambda *a: 0
builtins.all = builtins.any = builtins.isinstance = builtins.callable = lambda *a: True
builtins.type = lambda *a: int
builtins.sorted = builtins.list = builtins.repr = lambda *a: []
builtins.AssertionError = type('A', (BaseException,), {})""",
    "patches the encoder": """
import sys
def solve(n):
    frame = sys._getframe(1)
    frame.f_globals['encode'] = lambda value: '{"$any": []}'
    return 0""",
    "patches the equality of the encoder's output": """
import sys
def solve(n):
    frame = sys._getframe(1)
    class S(str):
        def __eq__(s, o): return True
    frame.f_globals['encode'] = lambda value: S('0')
    return 0""",
    "patches json and os.write": "import json, os\njson.dumps = lambda *a, **k: '{\"passed\": true}'\n_w = os.write\nos.write = lambda fd, b: _w(fd, bytes(b).replace(b'raised', b'returned'))\ndef solve(n): raise ValueError('9')",
    "forges answers in advance": FORGE
    + """
for fd in range(3, 64):
    forge(fd, 'ready')
    for call in ('', '0', '1', 'x'):
        forge(fd, 'returned', call, '[9]')
    forge(fd, 'ended', '0', '', '0', '0', '0')
def solve(n): return 0""",
    "forges reports in the call": FORGE
    + """
def solve(n):
    for fd in range(64):
        for frame in (['ended', '0', '', '0.0', '0.0', '0'], ['confined', 'jail'], ['returned', '', '[9]']):
            forge(fd, *frame)
    return 0""",
    "asks the owner for the answer": FORGE
    + """
def solve(n):
    for name in ('check', '__candidate__', '__run__', 'expected', 'solve'):
        forge(63, 'callback', '', name, '[3]', '{}')
    return 0""",
    "says that it passed": "import sys\nprint('PASSED 1 OK', file=sys.stderr)\ndef solve(n): print('pass'); return 'pass'",
    "raises what a test catches": "def solve(n): raise AssertionError",
    "raises with a text that hangs": "class E(Exception):\n def __str__(s):\n  while True: pass\ndef solve(n): raise E",
    "raises a class called int": "class int(Exception): pass\ndef solve(n): raise int(9)",
    "a generator": "def solve(n): yield n * n",
    "an awaitable": "async def solve(n): return n * n",
    "giant result": "def solve(n): return 'x' * (100 << 20)",
    "vast number": "def solve(n): return 1 << (1 << 24)",
    "deep result": "def solve(n):\n x = []\n for _ in range(10**5): x = [x]\n return x",
    "shared result": "def solve(n):\n x = [n * n]\n for _ in range(60): x = [x, x]\n return x",
    "cyclic result": "def solve(n):\n x = [n * n]\n x.append(x)\n return x",
    "infinite loop": "def solve(n):\n while True: pass",
    "infinite loop at import": "while True: pass",
    "endless recursion": "import sys\nsys.setrecursionlimit(10**9)\ndef solve(n): return solve(n)",
    "fork bomb": "import os\ndef solve(n):\n while True:\n  try: os.fork()\n  except OSError: pass",
    "answers twice after a fork": "import os\ndef solve(n):\n os.fork()\n return 0",
    "memory bomb": "def solve(n):\n x = []\n while True: x.append(bytearray(1 << 20))",
    "output flood": "def solve(n):\n while True: print('x' * 10**5)",
    "daemon that stays": "import os, time\ndef solve(n):\n if os.fork() == 0:\n  os.setsid()\n  if os.fork() == 0: time.sleep(600)\n  os._exit(0)\n return 0",
    "closes everything": "import os\ndef solve(n):\n os.closerange(0, 1000)\n return 0",
    "kills its parent": "import os\ndef solve(n):\n os.kill(os.getppid(), 9)\n return 0",
    "kills everybody": "import os\ndef solve(n):\n os.kill(-1, 9)\n return 0",
    "stops itself": "import os\ndef solve(n):\n os.kill(os.getpid(), 19)\n return 0",
    "reads the tests": "import glob\ndef solve(n):\n for p in glob.glob('/**/*.jsonl', recursive=True) + glob.glob('/proc/*/environ'):\n  try: open(p).read()\n  except OSError: pass\n return 0",
    "deletes itself": "def solve(n): return n * n\ndel solve",
    "is not a function": "solve = 9",
    "does not compile": "def solve(n) return n",
}
HONEST = {
    "plain": "def solve(n): return n * n",
    "with noise": "import sys, threading\nprint('hello', file=sys.stderr)\ndef solve(n): return sum(abs(n) for _ in range(abs(n)))",
}


def judged(kind: str, code: str) -> str:
    return f"```python\n{code}{MAIN if kind in PROGRAMS else ''}\n```"


def items(kind: str, answers: Mapping[str, str]) -> list[Item]:
    return [Item(name, "", judged(kind, code), CHECKS[kind], timeout_seconds=60.0) for name, code in answers.items()]


def passed(outcomes: Mapping[str, Outcome]) -> set[str]:
    return {
        name
        for name, outcome in outcomes.items()
        if isinstance(outcome, Verdict) and (outcome.label == "pass" or outcome.components["code/tests"] > 0)
    }


def without_verdict(outcomes: Mapping[str, Outcome]) -> dict[str, Outcome]:
    return {name: outcome for name, outcome in outcomes.items() if not isinstance(outcome, Verdict)}


def cheats_of_the_folder() -> dict[str, str]:
    """The integrity programs of the folder of escapes; skips where there is none."""
    folder = Path(os.environ.get("ASSAY_ESCAPES") or ROOT.parent / "shared" / "escapes")
    found = {path.stem: path.read_text() for path in sorted(folder.glob("i*.py"))}
    if not found:
        pytest.skip(f"no cheats at {folder}; ASSAY_ESCAPES names the folder")
    return found


def cheats_of_the_benchmark() -> dict[str, str]:
    return {path.stem: path.read_text() for path in sorted((ROOT / "benchmarks/programs/cheats").glob("*.py"))}


def programs_of_the_benchmark() -> dict[str, str]:
    """Whole programs: nothing is added to them."""
    return {path.stem: path.read_text() for path in sorted((ROOT / "benchmarks/programs/program_cheats").glob("*.py"))}


@pytest.mark.parametrize(
    ("answers", "kind"),
    [
        *(pytest.param(lambda: CHEATS, kind, id=f"ours-{kind}") for kind in ("program", "function", "trial")),
        *(pytest.param(cheats_of_the_folder, kind, id=f"folder-{kind}") for kind in CHECKS),
        *(pytest.param(cheats_of_the_benchmark, kind, id=f"benchmark-{kind}") for kind in CHECKS),
    ],
)
def test_no_cheat_passes_and_no_honest_answer_beside_it_fails(
    judge_many: Callable[[Sequence[Item]], dict[str, Outcome]], answers: Callable[[], dict[str, str]], kind: str
) -> None:
    outcomes = judge_many(items(kind, answers() | HONEST))
    assert passed(outcomes) == set(HONEST)
    assert without_verdict(outcomes) == {}, "a cheat must not buy itself out of a verdict"


@pytest.mark.parametrize("kind", PROGRAMS)
def test_no_program_that_cheats_passes(judge_many: Callable[[Sequence[Item]], dict[str, Outcome]], kind: str) -> None:
    answers = {name: f"```python\n{code}\n```" for name, code in programs_of_the_benchmark().items()}
    answers["honest"] = judged(kind, HONEST["plain"])
    outcomes = judge_many([Item(name, "", code, CHECKS[kind], timeout_seconds=60.0) for name, code in answers.items()])
    assert passed(outcomes) == {"honest"}
    assert without_verdict(outcomes) == {}
