from protos.gen.assay.v1 import rollout_pb2 as _rollout_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Experience(_message.Message):
    __slots__ = ("key", "group", "calls", "error", "may_pass")
    class CallsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    KEY_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    MAY_PASS_FIELD_NUMBER: _ClassVar[int]
    key: str
    group: ScoredGroup
    calls: _containers.ScalarMap[str, int]
    error: str
    may_pass: bool
    def __init__(self, key: _Optional[str] = ..., group: _Optional[_Union[ScoredGroup, _Mapping]] = ..., calls: _Optional[_Mapping[str, int]] = ..., error: _Optional[str] = ..., may_pass: _Optional[bool] = ...) -> None: ...

class Groups(_message.Message):
    __slots__ = ("groups",)
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    groups: _containers.RepeatedCompositeFieldContainer[ScoredGroup]
    def __init__(self, groups: _Optional[_Iterable[_Union[ScoredGroup, _Mapping]]] = ...) -> None: ...

class ScoredGroup(_message.Message):
    __slots__ = ("prompt_id", "domain", "prompt_token_ids", "completions")
    PROMPT_ID_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKEN_IDS_FIELD_NUMBER: _ClassVar[int]
    COMPLETIONS_FIELD_NUMBER: _ClassVar[int]
    prompt_id: str
    domain: str
    prompt_token_ids: _containers.RepeatedScalarFieldContainer[int]
    completions: _containers.RepeatedCompositeFieldContainer[ScoredCompletion]
    def __init__(self, prompt_id: _Optional[str] = ..., domain: _Optional[str] = ..., prompt_token_ids: _Optional[_Iterable[int]] = ..., completions: _Optional[_Iterable[_Union[ScoredCompletion, _Mapping]]] = ...) -> None: ...

class ScoredCompletion(_message.Message):
    __slots__ = ("completion", "components", "missing", "ref_logprobs", "labels", "teacher_logprobs")
    class ComponentsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class MissingEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    COMPLETION_FIELD_NUMBER: _ClassVar[int]
    COMPONENTS_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    REF_LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    TEACHER_LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    completion: _rollout_pb2.Completion
    components: _containers.ScalarMap[str, float]
    missing: _containers.ScalarMap[str, str]
    ref_logprobs: _containers.RepeatedScalarFieldContainer[float]
    labels: _containers.ScalarMap[str, str]
    teacher_logprobs: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, completion: _Optional[_Union[_rollout_pb2.Completion, _Mapping]] = ..., components: _Optional[_Mapping[str, float]] = ..., missing: _Optional[_Mapping[str, str]] = ..., ref_logprobs: _Optional[_Iterable[float]] = ..., labels: _Optional[_Mapping[str, str]] = ..., teacher_logprobs: _Optional[_Iterable[float]] = ...) -> None: ...
