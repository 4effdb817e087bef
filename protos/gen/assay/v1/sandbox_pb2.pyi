from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Ending(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ENDING_UNSPECIFIED: _ClassVar[Ending]
    EXITED: _ClassVar[Ending]
    SYNTAX_ERROR: _ClassVar[Ending]
    RAISED: _ClassVar[Ending]
    SIGNALLED: _ClassVar[Ending]
    CPU_LIMIT: _ClassVar[Ending]
    WALL_LIMIT: _ClassVar[Ending]
    MEMORY_LIMIT: _ClassVar[Ending]
    OUTPUT_LIMIT: _ClassVar[Ending]
    TAMPERED: _ClassVar[Ending]
    INFRASTRUCTURE: _ClassVar[Ending]
ENDING_UNSPECIFIED: Ending
EXITED: Ending
SYNTAX_ERROR: Ending
RAISED: Ending
SIGNALLED: Ending
CPU_LIMIT: Ending
WALL_LIMIT: Ending
MEMORY_LIMIT: Ending
OUTPUT_LIMIT: Ending
TAMPERED: Ending
INFRASTRUCTURE: Ending

class Limits(_message.Message):
    __slots__ = ("cpu_seconds", "wall_seconds", "memory_bytes", "output_bytes")
    CPU_SECONDS_FIELD_NUMBER: _ClassVar[int]
    WALL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_BYTES_FIELD_NUMBER: _ClassVar[int]
    cpu_seconds: float
    wall_seconds: float
    memory_bytes: int
    output_bytes: int
    def __init__(self, cpu_seconds: _Optional[float] = ..., wall_seconds: _Optional[float] = ..., memory_bytes: _Optional[int] = ..., output_bytes: _Optional[int] = ...) -> None: ...

class Program(_message.Message):
    __slots__ = ("id", "source", "stdin", "limits", "trace_id")
    ID_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    STDIN_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    source: str
    stdin: bytes
    limits: Limits
    trace_id: str
    def __init__(self, id: _Optional[str] = ..., source: _Optional[str] = ..., stdin: _Optional[bytes] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., trace_id: _Optional[str] = ...) -> None: ...

class ExecuteRequest(_message.Message):
    __slots__ = ("programs",)
    PROGRAMS_FIELD_NUMBER: _ClassVar[int]
    programs: _containers.RepeatedCompositeFieldContainer[Program]
    def __init__(self, programs: _Optional[_Iterable[_Union[Program, _Mapping]]] = ...) -> None: ...

class ExecuteResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[ProgramResult]
    def __init__(self, results: _Optional[_Iterable[_Union[ProgramResult, _Mapping]]] = ...) -> None: ...

class ProgramResult(_message.Message):
    __slots__ = ("id", "ending", "stdout", "stderr", "exit_code", "cpu_seconds", "wall_seconds", "peak_memory_bytes", "detail")
    ID_FIELD_NUMBER: _ClassVar[int]
    ENDING_FIELD_NUMBER: _ClassVar[int]
    STDOUT_FIELD_NUMBER: _ClassVar[int]
    STDERR_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    CPU_SECONDS_FIELD_NUMBER: _ClassVar[int]
    WALL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    PEAK_MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    id: str
    ending: Ending
    stdout: bytes
    stderr: bytes
    exit_code: int
    cpu_seconds: float
    wall_seconds: float
    peak_memory_bytes: int
    detail: str
    def __init__(self, id: _Optional[str] = ..., ending: _Optional[_Union[Ending, str]] = ..., stdout: _Optional[bytes] = ..., stderr: _Optional[bytes] = ..., exit_code: _Optional[int] = ..., cpu_seconds: _Optional[float] = ..., wall_seconds: _Optional[float] = ..., peak_memory_bytes: _Optional[int] = ..., detail: _Optional[str] = ...) -> None: ...

class SessionRequest(_message.Message):
    __slots__ = ("open", "call", "callback_outcome")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    CALL_FIELD_NUMBER: _ClassVar[int]
    CALLBACK_OUTCOME_FIELD_NUMBER: _ClassVar[int]
    open: OpenSession
    call: CallFunction
    callback_outcome: CallOutcome
    def __init__(self, open: _Optional[_Union[OpenSession, _Mapping]] = ..., call: _Optional[_Union[CallFunction, _Mapping]] = ..., callback_outcome: _Optional[_Union[CallOutcome, _Mapping]] = ...) -> None: ...

class OpenSession(_message.Message):
    __slots__ = ("source", "callbacks", "limits", "trace_id")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    CALLBACKS_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    source: str
    callbacks: _containers.RepeatedScalarFieldContainer[str]
    limits: Limits
    trace_id: str
    def __init__(self, source: _Optional[str] = ..., callbacks: _Optional[_Iterable[str]] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., trace_id: _Optional[str] = ...) -> None: ...

class CallFunction(_message.Message):
    __slots__ = ("function", "args", "kwargs", "timeout_seconds")
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    ARGS_FIELD_NUMBER: _ClassVar[int]
    KWARGS_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    function: str
    args: str
    kwargs: str
    timeout_seconds: float
    def __init__(self, function: _Optional[str] = ..., args: _Optional[str] = ..., kwargs: _Optional[str] = ..., timeout_seconds: _Optional[float] = ...) -> None: ...

class CallOutcome(_message.Message):
    __slots__ = ("value", "raised")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    RAISED_FIELD_NUMBER: _ClassVar[int]
    value: str
    raised: RaisedException
    def __init__(self, value: _Optional[str] = ..., raised: _Optional[_Union[RaisedException, _Mapping]] = ...) -> None: ...

class RaisedException(_message.Message):
    __slots__ = ("type", "message")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    type: str
    message: str
    def __init__(self, type: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class SessionResponse(_message.Message):
    __slots__ = ("ready", "call_outcome", "callback", "ended")
    READY_FIELD_NUMBER: _ClassVar[int]
    CALL_OUTCOME_FIELD_NUMBER: _ClassVar[int]
    CALLBACK_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    ready: SessionReady
    call_outcome: CallOutcome
    callback: CallFunction
    ended: SessionEnded
    def __init__(self, ready: _Optional[_Union[SessionReady, _Mapping]] = ..., call_outcome: _Optional[_Union[CallOutcome, _Mapping]] = ..., callback: _Optional[_Union[CallFunction, _Mapping]] = ..., ended: _Optional[_Union[SessionEnded, _Mapping]] = ...) -> None: ...

class SessionReady(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SessionEnded(_message.Message):
    __slots__ = ("result",)
    RESULT_FIELD_NUMBER: _ClassVar[int]
    result: ProgramResult
    def __init__(self, result: _Optional[_Union[ProgramResult, _Mapping]] = ...) -> None: ...
