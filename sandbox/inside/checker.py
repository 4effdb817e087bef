"""Test code's half of a trial: runs it with proxies in the candidate's place, and counts what it has asserted.

The interpreter is pristine: nothing of the candidate's has ever run in it, nor in the server that forked it. What the
candidate returns comes as plain values, as `Remote` objects that are compared by identity, or as built-in exceptions.
"""

from __future__ import annotations

import builtins
import os
import sys
from _thread import RLock
from collections import Counter, OrderedDict, defaultdict

from sandbox import frames
from sandbox.inside import peer, pytest_names
from sandbox.inside.assertions import Assertions
from sandbox.inside.candidate import CHANGEABLE
from sandbox.inside.harness import REPORT, builtin_name, message_of, new_module, report, write
from sandbox.values import BeyondBoundsError, NotPlainError, decode, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType
    from typing import Any

_NOT_PLAIN = (NotPlainError.__name__, BeyondBoundsError.__name__)
_DICTS = (Counter, OrderedDict, defaultdict)
_MOST_RAISED, _MOST_CHARACTERS = 64, 2000


class Remote:
    """Something of the candidate's: a function, a class, or an object that is no plain value."""

    __slots__ = ("_target",)
    _known: dict[str, Remote] = {}  # noqa: RUF012  (one object for one name, so that identity means something)

    def __init__(self, target: str) -> None:
        object.__setattr__(self, "_target", target)

    def __call__(self, *args: object, **kwargs: object) -> Any:
        return _ask("call", self._target, list(args), kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return _ask("get", self._target, name)

    def __iter__(self) -> Iterator[Any]:
        found = _ask("call", "!through", [self], {})
        return found if type(found) is Remote else iter(found)

    def __next__(self) -> Any:
        try:
            return _ask("call", "!next", [self], {})
        except _CandidateStopError:
            raise StopIteration from None

    def __len__(self) -> int:
        return _ask("call", "!len", [self], {})

    def __getitem__(self, key: object) -> Any:
        return _ask("call", "!item", [self, key], {})

    def __contains__(self, key: object) -> bool:
        return key in list(self)  # its own word for it would be "yes"

    def __setattr__(self, name: str, value: object) -> None:
        _ask("call", "!set", [self, name, value], {})

    def __bool__(self) -> bool:
        return not self._target.startswith("#") or _ask("call", "!truth", [self], {})

    def __str__(self) -> str:
        return _ask("call", "!str", [self], {})


def remote(target: str) -> Remote:
    """The one proxy for a name or an object's number."""
    return Remote._known.setdefault(target, Remote(target))


def _refer(value: object) -> str:
    if type(value) is Remote and value._target.startswith("#"):
        return value._target[1:]
    raise NotPlainError(f"{type(value).__qualname__} is not a plain type")


def _resolve(number: str) -> Remote:
    return remote(f"#{number}")


def _take_over(changed: Any, args: Any, kwargs: Any) -> None:
    """Gives arguments of a call the content that the candidate has given them. It can change nothing else: only the exact
    built-in types are changed, only to their own kind, by operations of theirs. Raises FrameError."""
    given = {**dict(enumerate(args)), **(kwargs or {})} if type(args) is list else {}
    if type(changed) is not list or not all(type(each) is list and len(each) == 2 for each in changed):
        raise frames.FrameError("sent what are no arguments")
    for key, new in changed:
        if type(key) not in (int, str) or key not in given:
            raise frames.FrameError("changed what is no argument")
        old = given[key]
        if type(old) in _DICTS and type(new) is dict:  # a dict over there, and a copy
            continue
        if type(new) is not type(old) or type(old) not in CHANGEABLE:
            raise frames.FrameError("changed the type of an argument")
        old.clear()
        if type(old) is list:
            old.extend(new)
        else:
            old.update(new)


class _GoneError(BaseException):
    """The candidate answers no more, or with what is no answer. No `except Exception` of the test's can hold it up."""


class Conversation:
    """What has been asked of the candidate, and the types of what its calls raised."""

    def __init__(self) -> None:
        self.calls = 0
        self.raised: set[str] = set()
        self._lock = RLock()
        self.end = ""
        """Why it is over: "gone", or what was wrong with an answer."""

    def ask(self, kind: str, *question: object) -> Any:
        """Asks the candidate; its answer. Raises what it raised, _GoneError, and NotPlainError for a bad question."""
        text = encode(list(question), refer=_refer)
        with self._lock:
            if self.end:
                raise _GoneError
            self.calls += kind == "call"
            self.note(frames.WAITS)
            outcome: Any = None
            raised: Exception | None = None
            try:
                outcome, raised = self.answer(kind, os.urandom(8).hex(), text, *question[1:])
            except (EOFError, OSError):
                self.end = "gone"
            except frames.FrameError as error:
                self.end = str(error)
            finally:
                self.note(frames.COMPUTES)
            if self.end:
                raise _GoneError
        if raised is not None:  # here, where an OSError of the candidate's is not taken for one of the channel's
            raise raised
        return outcome

    def note(self, state: bytes) -> None:
        """Tells the owner at once: a process that is killed tells nothing more."""
        os.pwrite(REPORT, state + self.calls.to_bytes(frames.STATE_BYTES - 1, "big"), 0)

    def answer(
        self, kind: str, identity: str, text: str, args: Any = (), kwargs: Any = None
    ) -> tuple[Any, Exception | None]:
        """What comes of one question, and what the candidate raised. args, kwargs: of a call, to take over what it has
        changed of them. Raises FrameError, and EOFError and OSError where the candidate is gone."""
        peer.send(kind, identity, text)
        kind, answered, text = peer.receive()
        if answered != identity or kind not in ("returned", "raised"):
            raise frames.FrameError("wrote an answer that nobody had asked for")
        try:
            answer: Any = decode(text, resolve=_resolve)
        except NotPlainError as error:
            raise frames.FrameError(f"sent what is no value: {error}") from None
        if type(answer) is not list or not 1 <= len(answer) <= 2:
            raise frames.FrameError("sent what is no answer")
        outcome, *changed = answer
        is_raised = kind == "raised"
        if is_raised and (type(outcome) is not list or [type(each) for each in outcome] != [str, str]):
            raise frames.FrameError("sent what is no exception")
        if changed:
            _take_over(changed[0], args, kwargs)
        if is_raised:
            return None, self._exception(*outcome)
        return outcome, None

    def _exception(self, name: str, message: str) -> Exception:
        # Those that are built in are few, and always told: who is at fault may hang on them.
        if name not in self.raised and (len(self.raised) < _MOST_RAISED or hasattr(builtins, name)):
            self.raised.add(name)
            report("candidate raised", name[:_MOST_CHARACTERS], message[:_MOST_CHARACTERS])
        return _exception(name, message)


_conversation = Conversation()
_ask = _conversation.ask


class _CandidateStopError(RuntimeError):
    """The candidate raised StopIteration, which would end a loop of the test's in silence."""


def _exception(name: str, message: str) -> Exception:
    """What the candidate raised, as an `Exception` that is built in: `SystemExit` and its kin would end the test."""
    if name == "StopIteration":
        return _CandidateStopError(f"StopIteration: {message}")
    kind = (
        TypeError if name in _NOT_PLAIN else NameError if name == frames.NOT_DEFINED else getattr(builtins, name, None)
    )
    if isinstance(kind, type) and issubclass(kind, Exception) and kind is not StopAsyncIteration:
        try:
            return kind(message)
        except TypeError:  # those that need more arguments, like UnicodeDecodeError
            pass
    return RuntimeError(f"{name}: {message}")


class _CandidateModule(type(sys)):
    """What `import solution` gives."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return _ask("get", "", name)


def run(source: str, compiled: str, count: str, *rest: str) -> None:
    """Runs the test code, and reports how it went. compiled: see `Assertions.code`."""
    write(REPORT, bytes(frames.STATE_BYTES))
    _conversation.note(frames.COMPUTES)
    names, modules = rest[: int(count)], rest[int(count) :]
    module = new_module("tests")
    for name in names:
        module.__dict__[name] = remote(name)
    sys.modules["pytest"] = pytest_names.MODULE
    for name in modules:
        sys.modules[name] = _CandidateModule(name)
    assertions = Assertions()
    module.__dict__[assertions.TOLD_BY] = assertions.held.add
    code = assertions.code(source, compiled)
    try:
        exec(code, module.__dict__)  # noqa: S102
    except BaseException:
        if _conversation.end:  # whatever came of that
            return report("gone", _conversation.end, "0", "0")
        raise
    tests = _tests(module, names)
    report("ready")
    executed, broken = 0, None
    for name, test in tests.items():
        try:
            executed += test() or 0
        except BaseException as error:
            # Of what the test itself gave to the candidate: what the candidate gives never raises it here.
            kind = type(error).__name__ if isinstance(error, NotPlainError) else builtin_name(error)
            broken = (name, kind, message_of(error))
            break
    missed, expected = assertions.missed(tests)
    if broken is None and missed:
        broken = ("", "AssertionError", f"{missed} assertions were never reached")
    totals = (str(executed + len(assertions.held)), str(expected))
    if _conversation.end:
        return report("gone", _conversation.end, *totals)
    return report("broke", *broken, *totals) if broken else report("finished", *totals)


def _tests(module: ModuleType, names: tuple[str, ...]) -> dict[str, Callable[[], int | None]]:
    """What to run, by name; each returns how many assertions it made besides `assert` statements."""
    check = module.__dict__.get("check")
    if callable(check):
        return {"check": lambda: _call(check, remote(names[0]))}
    tests: dict[str, Callable[[], int | None]] = {}
    for name, value in list(module.__dict__.items()):
        if name.startswith("test") and callable(value) and not isinstance(value, type | Remote):
            tests[name] = lambda value=value: _run_function(value)
        elif isinstance(value, type) and hasattr(value, "assertEqual"):
            tests[name] = lambda value=value: _run_case(value)
    return tests


def _call(test: Callable[..., object], *args: object) -> int:
    test(*args)
    return 0


def _run_function(test: Any) -> int:
    for parameters in getattr(test, pytest_names.PARAMETERS, [{}]):
        test(**parameters)
    return 0


def _run_case(case: Any) -> int:
    """Runs a `unittest.TestCase`; how many of its tests passed. Raises what the first that did not pass raised."""
    import unittest

    suite = unittest.defaultTestLoader.loadTestsFromTestCase(case)
    result = unittest.TestResult()
    result.failfast = True
    suite.run(result)
    if not result.wasSuccessful():
        (test, text), *_ = result.failures or result.errors or [(case, "")]
        raise AssertionError(f"{test}: {text.strip().splitlines()[-1] if text else 'did not pass'}")
    return result.testsRun - len(result.skipped)
