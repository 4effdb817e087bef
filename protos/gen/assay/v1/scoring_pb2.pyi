from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ScoreItem(_message.Message):
    __slots__ = ("id", "trace_id", "prompt", "response", "checks_json", "timeout_ms")
    ID_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    CHECKS_JSON_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    id: str
    trace_id: str
    prompt: str
    response: str
    checks_json: str
    timeout_ms: int
    def __init__(self, id: _Optional[str] = ..., trace_id: _Optional[str] = ..., prompt: _Optional[str] = ..., response: _Optional[str] = ..., checks_json: _Optional[str] = ..., timeout_ms: _Optional[int] = ...) -> None: ...

class ScoreBatchRequest(_message.Message):
    __slots__ = ("items", "options_json", "weights", "fresh")
    class WeightsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_JSON_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    FRESH_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[ScoreItem]
    options_json: str
    weights: _containers.ScalarMap[str, float]
    fresh: bool
    def __init__(self, items: _Optional[_Iterable[_Union[ScoreItem, _Mapping]]] = ..., options_json: _Optional[str] = ..., weights: _Optional[_Mapping[str, float]] = ..., fresh: _Optional[bool] = ...) -> None: ...

class ScoreBatchResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[ItemResult]
    def __init__(self, results: _Optional[_Iterable[_Union[ItemResult, _Mapping]]] = ...) -> None: ...

class ItemResult(_message.Message):
    __slots__ = ("id", "verdict", "error")
    ID_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    id: str
    verdict: Verdict
    error: ItemError
    def __init__(self, id: _Optional[str] = ..., verdict: _Optional[_Union[Verdict, _Mapping]] = ..., error: _Optional[_Union[ItemError, _Mapping]] = ...) -> None: ...

class Verdict(_message.Message):
    __slots__ = ("components", "label", "evidence", "total")
    class ComponentsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class EvidenceEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    COMPONENTS_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    components: _containers.ScalarMap[str, float]
    label: str
    evidence: _containers.ScalarMap[str, str]
    total: float
    def __init__(self, components: _Optional[_Mapping[str, float]] = ..., label: _Optional[str] = ..., evidence: _Optional[_Mapping[str, str]] = ..., total: _Optional[float] = ...) -> None: ...

class ItemError(_message.Message):
    __slots__ = ("reason", "message")
    class Reason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        REASON_UNSPECIFIED: _ClassVar[ItemError.Reason]
        INVALID_ITEM: _ClassVar[ItemError.Reason]
        DEADLINE: _ClassVar[ItemError.Reason]
        WORKER_DIED: _ClassVar[ItemError.Reason]
        SCORER_FAILED: _ClassVar[ItemError.Reason]
        UNAVAILABLE: _ClassVar[ItemError.Reason]
    REASON_UNSPECIFIED: ItemError.Reason
    INVALID_ITEM: ItemError.Reason
    DEADLINE: ItemError.Reason
    WORKER_DIED: ItemError.Reason
    SCORER_FAILED: ItemError.Reason
    UNAVAILABLE: ItemError.Reason
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    reason: ItemError.Reason
    message: str
    def __init__(self, reason: _Optional[_Union[ItemError.Reason, str]] = ..., message: _Optional[str] = ...) -> None: ...

class DescribeRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Description(_message.Message):
    __slots__ = ("name", "version", "components", "checks_schema", "max_items", "max_message_bytes", "cacheable")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    COMPONENTS_FIELD_NUMBER: _ClassVar[int]
    CHECKS_SCHEMA_FIELD_NUMBER: _ClassVar[int]
    MAX_ITEMS_FIELD_NUMBER: _ClassVar[int]
    MAX_MESSAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    CACHEABLE_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    components: _containers.RepeatedCompositeFieldContainer[ComponentDescription]
    checks_schema: str
    max_items: int
    max_message_bytes: int
    cacheable: bool
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., components: _Optional[_Iterable[_Union[ComponentDescription, _Mapping]]] = ..., checks_schema: _Optional[str] = ..., max_items: _Optional[int] = ..., max_message_bytes: _Optional[int] = ..., cacheable: _Optional[bool] = ...) -> None: ...

class ComponentDescription(_message.Message):
    __slots__ = ("name", "doc", "low", "high", "higher_is_better")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DOC_FIELD_NUMBER: _ClassVar[int]
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    HIGHER_IS_BETTER_FIELD_NUMBER: _ClassVar[int]
    name: str
    doc: str
    low: float
    high: float
    higher_is_better: bool
    def __init__(self, name: _Optional[str] = ..., doc: _Optional[str] = ..., low: _Optional[float] = ..., high: _Optional[float] = ..., higher_is_better: _Optional[bool] = ...) -> None: ...
