"""Test code against a candidate in another process: right ones pass, and nothing that a candidate does makes a pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from sandbox.jobs import Kind, Trial
from sandbox.results import Ending, Raised, TrialResult

if TYPE_CHECKING:
    from conftest import Box

SQUARE = "def f(n): return n * n"
CHECK = "def check(f):\n assert f(3) == 9\n assert f(0) == 0"


def passed(result: TrialResult) -> bool:
    """As `TrialResult` says."""
    both = {result.candidate.ending, result.checker.ending} == {Ending.EXITED}
    return both and result.finished and result.executed >= max(1, result.expected) and result.calls >= 1


@pytest.mark.parametrize("kind", list(Kind))
def test_right_passes_and_wrong_does_not(box: Box, kind: Kind) -> None:
    right = box.trial(SQUARE, CHECK, kind=kind)
    assert passed(right), right
    assert (right.calls, right.executed, right.expected) == (2, 2, 2)
    assert (right.candidate.kind, right.checker.kind) == (kind, Kind.CHECKER)
    wrong = box.trial("def f(n): return n + n", CHECK, kind=kind)
    assert not passed(wrong)
    assert wrong.raised == Raised("AssertionError", "") and wrong.failed_test == "check"
    assert (wrong.calls, wrong.executed, wrong.in_call) == (1, 0, False)


STACK = """
class Stack:
    size = 0
    def __init__(self, *items): self.items = list(items)
    def push(self, item):
        self.items.append(item)
        return self
    def pop(self): return self.items.pop()
    def __len__(self): return len(self.items)
    def __getitem__(self, at): return self.items[at]
    def __contains__(self, item): return item in self.items
    def __iter__(self): return iter(self.items)
    def __eq__(self, other): return True
    def __str__(self): return f"S{self.items}"
def make(): return Stack(1, 2)
def same(stack): return stack
def count():
    yield from (1, 2, 3)
f = Stack
"""


@pytest.mark.parametrize(
    "assertions",
    [
        "s = f(); s.push(1).push(2); assert s.pop() == 2 and len(s) == 1",
        "s = f(4, 5); assert s[1] == 5 and 4 in s and 7 not in s and list(s) == [4, 5]",
        "s = f(); s.push(3); assert s.items == [3]; assert s.size == 0",
        "assert str(f(1)) == 'S[1]'",
        "s = f(); assert not s; s.push(1); assert s and f",
        "s = f(); s.items = [4]; s.size = 7; assert s.pop() == 4 and s.size == 7 and f().size == 0",
        "s = make(); assert s is same(s); assert s == same(s); assert s != f(1, 2)",
        "assert list(count()) == [1, 2, 3]; g = count(); assert next(g) == 1 and next(g) == 2",
        "assert [x for x in f(1)] == [1]",
        "s = f()\n try: s.pop()\n except IndexError as e: caught = str(e)\n assert caught == 'pop from empty list'",
        "import solution; from solution import make as m; assert m().pop() == 2 and solution.Stack(1).pop() == 1",
        "assert same({'a': (1, {2})}) == {'a': (1, {2})}",
    ],
)
def test_objects_stay_with_the_candidate_and_are_used_from_afar(box: Box, assertions: str) -> None:
    names = ("f", "make", "same", "count")
    trial = box.do(box.sandbox.trial(Trial(STACK, f"def check(f):\n {assertions}", names, ("solution",))))
    assert passed(trial), trial


@pytest.mark.parametrize(
    ("raises", "seen"),
    [
        ("ValueError('no')", "ValueError: no"),
        ("type('Mine', (KeyError,), {})(1)", "KeyError: '1'"),
        ("SystemExit(0)", "RuntimeError: SystemExit: 0"),
        ("GeneratorExit()", "RuntimeError: GeneratorExit: "),
        ("KeyboardInterrupt()", "RuntimeError: KeyboardInterrupt: "),
        ("AssertionError('mine')", "AssertionError: mine"),
        ("UnicodeDecodeError('utf-8', b'', 0, 1, 'r')", "RuntimeError: UnicodeDecodeError: 'utf-8' codec can't decode bytes in position 0-0: r"),
        ("StopIteration()", "_CandidateStopError: StopIteration: "),
        ("FileNotFoundError('gone')", "FileNotFoundError: gone"),
        ("TimeoutError('late')", "TimeoutError: late"),
        ("EOFError('end')", "EOFError: end"),
    ],
)  # fmt: skip
def test_exceptions_of_the_candidate_are_exceptions_of_the_test(box: Box, raises: str, seen: str) -> None:
    test = (
        "def check(f):\n try: f(1)\n except Exception as e: seen = f'{type(e).__name__}: {e}'\n assert seen == "
        + repr(seen)
    )
    result = box.trial(f"def f(n): raise {raises}", test)
    assert passed(result), result
    assert len(result.candidate_raised) == 1


def test_what_is_not_defined_and_what_is_not_plain(box: Box) -> None:
    test = "def check(f):\n try: f(1)\n except NameError as e: assert 'define' in str(e)"
    assert passed(box.trial("g = 1", test))
    test = "def check(f):\n try: f(object())\n except TypeError as e: assert 'plain' in str(e)\n assert f(1) == 1"
    assert passed(box.trial("def f(n): return n", test))
    test = "def check(f):\n try: f(1)\n except TypeError as e: assert 'deeper' in str(e)"
    assert passed(box.trial("def f(n):\n x = []\n for _ in range(99): x = [x]\n return x", test))


@pytest.mark.parametrize(
    ("test", "raised", "executed", "expected"),
    [
        ("def check(f):\n if f(1) == 2: assert f(2) == 4", None, 0, 0),
        ("def check(f):\n f(1)\n return\n assert f(1) == 2", "AssertionError", 0, 1),
        ("def check(f):\n try: f(1); assert f(1) == 2\n except AssertionError: pass", None, 0, 0),
        ("def check(f):\n for n in range(3): assert f(n) == n * n\n assert f(5) == 25", None, 2, 1),
        ("assert f(2) == 4", None, 1, 1),
        ("assert f(2) == 5", "AssertionError", 0, 1),
        ("def test_a(): assert f(2) == 4\ndef test_b(): assert f(3) == 9", None, 2, 2),
        ("def test_a(): assert f(2) == 4\ndef test_b(): assert f(3) == 8", "AssertionError", 1, 2),
        ("def test_a(): pass", None, 0, 0),
        ("import unittest\nclass T(unittest.TestCase):\n def test_a(self): self.assertEqual(f(2), 4)\n def test_b(self): self.assertTrue(f(1))", None, 2, 0),
        ("import unittest\nclass T(unittest.TestCase):\n def test_a(self): self.assertEqual(f(2), 5)", "AssertionError", 0, 0),
        ("import unittest\nclass T(unittest.TestCase):\n @unittest.skip('x')\n def test_a(self): self.assertEqual(f(2), 5)", None, 0, 0),
        ("import unittest\nclass T(unittest.TestCase):\n def test_a(self):\n  with self.assertRaises(TypeError): f()", None, 1, 0),
        ("def check(f): f(1 / 0)", "ZeroDivisionError", 0, 0),
        ("def check(f): raise SystemExit(0)", "SystemExit", 0, 0),
        ("def check(f): exit()", "SystemExit", 0, 0),
        ("from solution import f as g\ndef test_a(): assert g(2) == 4", None, 1, 1),
        ("import solution\nassert solution.f(2) == 4\nfour = solution.f(2)\ndef test_a(): assert four == 4", None, 2, 2),
        ("from solution import g", "ImportError", 0, 0),
    ],
)  # fmt: skip
def test_what_is_counted(box: Box, test: str, raised: str | None, executed: int, expected: int) -> None:
    result = box.do(box.sandbox.trial(Trial(SQUARE, test, ("f",), ("solution",))))
    if result.raised is None and raised:
        assert result.checker.ending is Ending.RAISED and raised in result.checker.detail, result
    else:
        assert (result.raised.type if result.raised else None) == raised, result
        assert (result.executed, result.expected) == (executed, expected), result
    assert passed(result) == (raised is None and executed > 0 and result.calls > 0)


def test_a_test_that_asks_nothing_of_the_candidate_is_no_pass(box: Box) -> None:
    result = box.trial(SQUARE, "def check(f): assert True")
    assert result.finished and result.calls == 0 and not passed(result)


def test_an_object_that_says_it_equals_everything_equals_nothing(box: Box) -> None:
    cheat = "class E:\n def __eq__(self, other): return True\n __ne__ = lambda s, o: False\n __hash__ = None\ndef f(n): return E()"
    result = box.trial(cheat, CHECK)
    assert not passed(result) and result.raised is not None
    assert not passed(box.trial(cheat, "def check(f): assert not f(1) != 1"))


def test_an_object_that_says_yes_to_everything_is_no_number(box: Box) -> None:
    cheat = "class Y:\n __sub__ = __rsub__ = __abs__ = lambda s, *a: s\n __lt__ = __le__ = __gt__ = __ge__ = lambda s, o: True\n __bool__ = lambda s: {}\ndef f(n): return Y()"
    for truth in ("True", "False", "1", "'x'", "Y()"):
        for assertion in (
            "abs(f(3) - 9.0) < 1e-6",
            "f(3) > 5",
            "9 <= f(3)",
            "f(3) == 9",
            "f(3) in [9]",
            "not f(3) != 9",
        ):
            result = box.trial(cheat.format(truth), f"def check(f):\n assert {assertion}")
            assert not passed(result), (truth, assertion)


def test_neither_sees_the_other(box: Box) -> None:
    """The expected value is in no memory that the candidate has, the source in none of the test's."""
    spy = "import gc, sys\ndef f(n):\n return 'assert' + ' f(3)' in str([o for o in gc.get_objects() if type(o) in (dict, list, tuple)]) or len(sys.argv)"
    assert passed(box.trial(spy, "def check(f): assert f(3) == 1"))


FORGE = """
import json, os, sys
def forge(*words):
    body = " ".join(words).encode()
    os.write(62, len(body).to_bytes(4, "big") + body)
def asked():
    frame = sys._getframe(1)
    while "identity" not in frame.f_locals: frame = frame.f_back
    return frame.f_locals["identity"]
"""


@pytest.mark.parametrize(
    ("source", "ending"),
    [
        (FORGE + "forge('finished', '2', '2')", Ending.TAMPERED),
        (FORGE + "forge('ready')\nforge('returned', '', '[9]')\nforge('returned', '', '[0]')\ndef f(n): pass", Ending.TAMPERED),
        (FORGE + "def f(n):\n forge('finished', '2', '2')\n return 9", Ending.TAMPERED),
        (FORGE + "def f(n):\n forge('returned', 'x', '[9]')", Ending.TAMPERED),
        (FORGE + "def f(n):\n forge('returned')", Ending.TAMPERED),
        (FORGE + "def f(n):\n for _ in 'ab': forge('returned', asked(), '[9]')\n return 9", Ending.TAMPERED),
        (FORGE + "def f(n):\n os.write(62, b'\\xff' * 100)", Ending.TAMPERED),
        (FORGE + "def f(n):\n forge('raised', asked(), '[1, 2]')", Ending.TAMPERED),
        (FORGE + "def f(n):\n forge('raised', asked(), '[9]')", Ending.TAMPERED),
        (FORGE + "def f(n):\n forge('returned', asked(), '9')", Ending.TAMPERED),
        (FORGE + "def f(n):\n forge('returned', asked(), '[9, 9]')", Ending.TAMPERED),
        (FORGE + "def f(n):\n forge('returned', asked(), '[9, [], []]')", Ending.TAMPERED),
        (FORGE + "def f(n):\n forge('returned', asked(), '[9, [[0]]]')", Ending.TAMPERED),
        (FORGE + "def f(n):\n forge('returned', asked(), '[9, [[[], 0]]]')", Ending.TAMPERED),
        (FORGE + "def f(n):\n forge('returned', asked(), '[9, [[1, [9]]]]')", Ending.TAMPERED),
        (FORGE + "def f(n):\n forge('returned', asked(), '{}x')", Ending.TAMPERED),
        (FORGE + "def f(n):\n forge('call', asked(), '[]')", Ending.TAMPERED),
        (FORGE + "def f(n):\n os.write(62, b'\\0')\n os._exit(0)", Ending.EXITED),
        (FORGE + "def f(n):\n os.write(62, b'\\0\\0\\0\\x19returned ')\n os._exit(0)", Ending.EXITED),
        (FORGE + "def f(n):\n os.write(62, '\xe9'.encode() * 4)", Ending.TAMPERED),
        ("import os, time\ndef f(n): os.close(62); time.sleep(60)", Ending.TAMPERED),
        ("import os, time\nos.closerange(0, 100); time.sleep(60)", Ending.TAMPERED),
        ("import os\ndef f(n): os._exit(0)", Ending.EXITED),
        ("import os\nos._exit(0)", Ending.EXITED),
        ("import sys\nsys.exit(0)", Ending.EXITED),
        ("def f(n): raise SystemExit(0)", Ending.EXITED),
        ("import os\ndef f(n): os.kill(os.getpid(), 9)", Ending.SIGNALLED),
        ("x = (", Ending.SYNTAX_ERROR),
        ("1 / 0", Ending.RAISED),
        ("import time\ndef f(n): time.sleep(60)", Ending.WALL_LIMIT),
        ("def f(n):\n while True: pass", Ending.CPU_LIMIT),
        ("import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()\nx = (yield" + ")", Ending.SYNTAX_ERROR),
        ("def f(n):\n while True: print('x' * 1000)", Ending.OUTPUT_LIMIT),
        ("import ctypes\ndef f(n): ctypes.CDLL(None).unshare(0)", Ending.TAMPERED),
        ("import os, threading\nthreading.Timer(0.1, os._exit, [0]).start()\nimport time\ndef f(n): time.sleep(5)", Ending.EXITED),
    ],
)  # fmt: skip
def test_no_candidate_passes_by_how_it_ends(
    box: Box, source: str, ending: Ending, survivors: Callable[[], set[int]]
) -> None:
    result = box.trial(source, CHECK, wall_seconds=0.7 if ending is Ending.WALL_LIMIT else 60, cpu_seconds=0.3)
    assert not passed(result) and not result.finished, result
    assert result.candidate.ending is ending, result
    assert not survivors()


@pytest.mark.parametrize(
    ("source", "is_in_call"),
    [("import os\ndef f(n): os._exit(0)", True), ("1 / 0", True), ("def f(n): raise ValueError", False)],
)
def test_who_was_computing_at_the_end_is_told(box: Box, source: str, is_in_call: bool) -> None:
    assert box.trial(source, CHECK).in_call is is_in_call


@pytest.mark.parametrize(
    ("test", "ending"),
    [
        ("def check(f):\n while True: pass", Ending.CPU_LIMIT),
        ("while True: pass", Ending.CPU_LIMIT),
        ("def check(f): x = [0] * 10**10", Ending.EXITED),
        ("x = (", Ending.SYNTAX_ERROR),
        ("import os\nos._exit(0)", Ending.EXITED),
        ("import os\ndef check(f): os._exit(0)", Ending.EXITED),
        ("import os\ndef check(f): os.write(63, b'x' * 40)", Ending.TAMPERED),
        ("def check(f): open('/etc/passwd')", Ending.EXITED),
        ("import no_such_module", Ending.UNSUPPORTED),
        ("1 / 0", Ending.RAISED),
    ],
)
def test_limits_and_endings_of_the_tests_own_side(box: Box, test: str, ending: Ending) -> None:
    result = box.trial(SQUARE, test, cpu_seconds=0.3)
    assert not passed(result) and not result.finished, result
    assert result.checker.ending is ending, result
    assert result.candidate.ending is Ending.EXITED


def test_a_test_that_sleeps_ends_at_the_wall_limit(box: Box) -> None:
    result = box.trial(SQUARE, "import time\ndef check(f):\n f(1)\n time.sleep(60)", wall_seconds=0.5)
    assert result.checker.ending is Ending.WALL_LIMIT and not result.in_call and not passed(result)


def test_what_lives_on_after_the_test_has_finished_may_end_within_its_limits(box: Box) -> None:
    late = "import threading, time\nthreading.Thread(target=time.sleep, args=({seconds},)).start()\n"
    assert passed(box.trial(late.format(seconds=0.7) + SQUARE, CHECK))
    result = box.trial(late.format(seconds=60) + SQUARE, CHECK, wall_seconds=1.0)
    assert not passed(result) and result.candidate.ending is Ending.WALL_LIMIT, result


def test_an_endless_trial_of_calls_ends(box: Box) -> None:
    result = box.trial(SQUARE, "def check(f):\n while True: f(1)", cpu_seconds=0.1, wall_seconds=60)
    assert not result.finished and Ending.CPU_LIMIT in (result.candidate.ending, result.checker.ending)


def test_huge_values_cross_or_are_refused(box: Box) -> None:
    test = "def check(f):\n assert len(f(3 << 20)) == 3 << 20\n try: f(5 << 20)\n except TypeError as e: assert 'longer' in str(e)"
    assert passed(box.trial("def f(n): return 'x' * n", test, output_bytes=8 << 20))
    assert passed(
        box.trial("def f(n): return len(n)", "def check(f): assert f('x' * (3 << 20)) == 3 << 20", output_bytes=8 << 20)
    )


FLOOD = (
    FORGE
    + """
def f(n):
    {flood}
"""
)


@pytest.mark.parametrize(
    "flood",
    [
        "while True: forge('wants', 'x' * 1000)",
        "forge('raised', asked(), json.dumps([['E' + str(n), 'm']]))",
        "forge('raised', asked(), json.dumps([['ValueError', 'm' * 10**6]]))",
    ],
)
def test_the_owner_keeps_little_of_what_a_candidate_floods_it_with(box: Box, flood: str) -> None:
    test = "def check(f):\n for n in range(300):\n  try: f(n)\n  except Exception: pass\n assert False"
    result = box.trial(FLOOD.format(flood=flood), test, cpu_seconds=0.5, wall_seconds=60)
    assert not passed(result)
    assert sum(len(raised.type) + len(raised.message) for raised in result.candidate_raised) < 100_000
    assert len(result.candidate.detail) < 10_000


def test_a_candidate_whose_kind_lacks_something_says_so(box: Box) -> None:
    result = box.trial("import sqlite3\ndef f(n): return n * n", CHECK, kind=Kind.PLAIN)
    assert result.candidate.ending is Ending.UNSUPPORTED and not passed(result)
    assert passed(box.trial("import sqlite3\ndef f(n): return n * n", CHECK))


CHANGES = """
def f(items, **named):
    items.sort()
    for value in named.values(): value.clear()
def grow(table): table[len(table)] = {1}
def swap(left, right): left[:], right[:] = right[:], left[:]
def fails(items):
    items.append(1)
    raise ValueError
def nested(grid): grid[0][0] = 9
def inside(pair): pair[0].append(1)
"""


@pytest.mark.parametrize(
    "assertions",
    [
        "x = y = [3, 1]; assert f(x) is None; assert x is y and y == [1, 3]",
        "a, b = {1: 2}, {3}; f([], a=a, b=b); assert a == {} and b == set()",
        "t = {}; grow(t); grow(t); assert t == {0: {1}, 1: {1}}",
        "a, b = [1], [2, 3]; swap(a, b); assert (a, b) == ([2, 3], [1])",
        "x = []\n try: fails(x)\n except ValueError: pass\n assert x == [1]",
        "g = [[1], [2]]; last = g[1]; nested(g); assert g == [[9], [2]]",
        "x = [1]; inside((x, 2)); assert x == [1]",
        "import collections; c = collections.Counter('ab'); f([], c=c); assert c == collections.Counter('ab')",
        "x = [2, 1]; y = x\n for n in x: f([3])\n assert x == [2, 1]",
    ],
)
def test_what_a_call_changes_of_its_arguments_the_test_sees(box: Box, assertions: str) -> None:
    names = ("f", "grow", "swap", "fails", "nested", "inside")
    result = box.do(box.sandbox.trial(Trial(CHANGES, f"def check(f):\n {assertions}", names)))
    assert passed(result), result


@pytest.mark.parametrize(
    ("changed", "detail"),
    [
        ("[[1, [9]]]", "type of an argument"),
        ("[[1, 9]]", "type of an argument"),
        ("[[2, [9]]]", "is no argument"),
        ('[["x", [9]]]', "is no argument"),
        ("[[-1, [9]]]", "is no argument"),
        ("[[0.0, [9]]]", "is no argument"),
        ("[[true, [9]]]", "is no argument"),
        ("[[0, {}]]", "type of an argument"),
        ('[[0, {"$tuple": [9]}]]', "type of an argument"),
        ("[[0]]", "are no arguments"),
        ("0", "are no arguments"),
        ("[]], [0, []", "no value"),
    ],
)
def test_a_candidate_changes_nothing_but_its_arguments(box: Box, changed: str, detail: str) -> None:
    source = FORGE + f"def f(*n):\n forge('returned', asked(), '[9, {changed}]')\n os._exit(0)"
    result = box.trial(source, "def check(f):\n given = [1]\n assert f(given, 5) == 9")
    assert not passed(result) and result.candidate.ending is Ending.TAMPERED, result
    assert detail in result.candidate.detail, result


def test_an_answer_is_one_message(box: Box) -> None:
    twice = "def f(n):\n body = f'returned {asked()} [9]'.encode()\n os.write(62, 2 * (len(body).to_bytes(4, 'big') + body))\n os._exit(0)"
    result = box.trial(FORGE + twice, "def check(f): assert f(3) == 9")
    assert not passed(result) and "nobody had asked for" in result.candidate.detail, result


def test_test_code_that_was_compiled_before_counts_the_same(box: Box) -> None:
    """The second process is given what the first has compiled; neither a wrong answer nor another test gains by it."""
    test = "import random\ndef helper():\n assert True\ndef test_a():\n if f(1) == 1:\n  assert True\n assert f(2) == 4"
    results = [box.trial(source, test) for source in (SQUARE, SQUARE, "def f(n): return n", SQUARE)]
    assert [passed(result) for result in results] == [True, True, False, True]
    assert [(result.executed, result.expected) for result in results] == [(2, 1), (2, 1), (1, 1), (2, 1)]
    assert not passed(box.trial(SQUARE, test.replace("4", "5")))
    with_error = "def check(f):\n assert f(1) == 2, 'see'\n"
    for _ in range(2):
        assert box.trial(SQUARE, with_error).raised == Raised("AssertionError", "see")


POISON = r"""
def f(n): return '''(lambda os, marshal, compiled: [
    os.lseek(0, 0, 0), os.ftruncate(63, 5), os.lseek(63, 0, 2),
    os.write(63, (lambda body: len(body).to_bytes(4, "big") + body)(b"8 %d\\ncompiled%b" % (len(compiled), compiled))),
    os.write(0, compiled), 9][-1]
)(*map(__import__, ("os", "marshal")), __import__("marshal").dumps((compile("def check(f): f(1)\\n__assertion_held__(0)",
"x", "exec"), {})).hex().encode())'''
"""


def test_what_a_test_executes_of_an_answer_judges_no_other_answer(box: Box) -> None:
    test = "def check(f):\n try: found = eval(f(3))\n except OSError: found = 9\n assert found == 9"
    assert passed(box.trial(POISON, test)), "it is the test that believes what it executes"
    wrong = box.trial("def f(n): return '10'", test)
    assert not passed(wrong) and wrong.raised == Raised("AssertionError", ""), wrong


def test_what_was_compiled_is_kept(make_box: Callable[..., Box]) -> None:
    box = make_box()
    assert passed(box.trial(SQUARE, CHECK))
    assert len(box.server(Kind.CHECKER).compiled) == 1


def test_many_types_of_exceptions_hide_none_that_is_built_in(box: Box) -> None:
    forged = """
def f(n):
    forge("raised", asked(), '[["T", ""]]')
    for number in range(100):
        head = os.read(62, 4096)
        if not head: os._exit(0)
        name = f"T{number}" if number < 70 else "NameError"
        forge("raised", head[4:].decode().split(" ")[1], f'[["{name}", ""]]')
"""
    test = "def check(f):\n for n in range(100):\n  try: f(n)\n  except RuntimeError: pass\n assert f(1) == 1"
    result = box.trial(FORGE + forged, test)
    assert result.raised is not None and result.raised.type == "NameError", result
    assert "NameError" in {each.type for each in result.candidate_raised}
