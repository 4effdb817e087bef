from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.code.answer import compose, defines, find_code, preamble

# On a busy machine anything may take long.
CALMLY = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
STUB = 'import math\n\ndef helper(x):\n    return x\n\ndef f(x):\n    """Squares."""\n'


@pytest.mark.parametrize(
    ("response", "code", "fenced", "bare"),
    [
        ("x = 1\n", "x = 1\n", False, True),
        ("```python\nx = 1\n```", "x = 1\n", True, False),
        ("Here:\n```py\nx = 1\n```\nDone.", "x = 1\n", True, False),
        ("~~~\nx = 1\n~~~", "x = 1\n", True, False),
        ("  ```\n  x = 1\n  ```", "  x = 1\n", True, False),
        ("```python\na = 1\n```\n```python\nb = 2\n```", "b = 2\n", True, False),
        ("```python\ndef f(): 1\n```\nuse:\n```python\nf()\n```", "def f(): 1\n", True, False),
        ("```python\nx = 1\n```\n```text\noutput\n```\n```bash\nls\n```", "x = 1\n", True, False),
        ("```c\nint x;\n```", "int x;\n", True, False),
        ("```python\nx = 1", "x = 1", False, False),
        ("```python\ns = '''\n```text\n'''\n```", "s = '''\n```text\n'''\n", True, False),
        ("````\n```\n````", "```\n", True, False),
        ("```\n```", "", True, False),
        ("", "", False, True),
    ],
)
def test_the_code_of_a_response(response: str, code: str, fenced: bool, bare: bool) -> None:
    answer = find_code(response, "f")
    assert (answer.code, answer.fenced, answer.bare) == (code, fenced, bare)


@CALMLY
@given(st.text(alphabet="`~ \nabc", max_size=200))
def test_any_response_has_an_answer(response: str) -> None:
    answer = find_code(response, "f")
    assert not (answer.fenced and answer.bare)
    assert len(answer.code) <= len(response)


@pytest.mark.parametrize(
    ("source", "result"),
    [
        ("def f(x): pass", True),
        ("import os\n\ndef f (x): pass", True),
        ("async def f(): pass", True),
        ("class f: pass", True),
        ("f = lambda x: x", True),
        ("f: object = len", True),
        ("\n\ndef f(): pass", True),
        ("def f2(x): pass", False),
        ("    return 1\n\ndef f(x): pass", False),
        ("  def f(x): pass", False),
        ("f(1)", False),
        ("# def f", False),
        ("", False),
    ],
)
def test_what_defines_a_function(source: str, result: bool) -> None:
    assert defines(source, "f") is result


@pytest.mark.parametrize(
    ("prompt", "code", "source"),
    [
        (STUB, "    return x * x\n", STUB + "    return x * x\n"),
        (STUB, "def f(x):\n    return x * x\n", STUB + "\ndef f(x):\n    return x * x\n"),
        ("def f(x):\n    return ", "x * x", "def f(x):\n    return x * x"),
        ("def f(x):\n    return (", "def f(x): return 1", "def f(x): return 1"),
        ("Write f, please.", "def f(x): return 1", "def f(x): return 1"),
        ("Write f, please.", "print(1)", "print(1)"),
        ("square", "def f(x): return 1", "def f(x): return 1"),
        ("", "def f(x): return 1", "def f(x): return 1"),
    ],
)
def test_how_a_candidate_is_put_together(prompt: str, code: str, source: str) -> None:
    assert compose(prompt, code, "f").lstrip("\n") == source


def test_a_prompt_that_is_no_module_gives_no_preamble() -> None:
    assert preamble(STUB).startswith(STUB)
    for prompt in ("def f(x):\n    return (", "Please write f", "(" * 1000, "a\0b", "please"):
        assert preamble(prompt) == ""
