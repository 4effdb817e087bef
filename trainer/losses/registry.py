"""The names of the built-in terms. A user's own function needs no entry: it is named by its import path."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from trainer.losses import kl, policy_terms, supervised
from trainer.losses.term import BuiltInTerm

BUILT_IN_TERMS: Mapping[str, BuiltInTerm] = MappingProxyType({**policy_terms.TERMS, **kl.TERMS, **supervised.TERMS})
