"""The names of the built-in terms. A user's own function needs no entry: it is named by its import path."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from trainer.losses import (
    clipped,
    distillation,
    group_preference,
    kl,
    masked,
    preference,
    preference_absolute,
    preference_reference_free,
    reinforce,
    soft,
    supervised,
    value,
)
from trainer.losses.term import BuiltInTerm

_FAMILIES = (
    clipped,
    soft,
    masked,
    reinforce,
    kl,
    supervised,
    distillation,
    preference,
    preference_absolute,
    preference_reference_free,
    group_preference,
    value,
)

BUILT_IN_TERMS: Mapping[str, BuiltInTerm] = MappingProxyType(
    {name: term for family in _FAMILIES for name, term in family.TERMS.items()}
)
