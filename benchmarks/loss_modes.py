"""Every built-in term with its defaults, and in each of its modes that is computed in another way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainer.losses.registry import BUILT_IN_TERMS
from trainer.term import Term, make_term

_OTHERS: Mapping[str, list[dict[str, Any]]] = {
    "ppo_clip": [
        {"dual_clip": 3.0},
        {"span": "segment"},
        {"span": "sequence"},
        {"anchor": "old"},
        {"anchor": "old", "correction": "token_tis"},
        {"anchor": "old", "correction": "sequence_tis"},
        {"anchor": "old", "correction": "icepop"},
        {"anchor": "old", "correction": "sequence_mask"},
        {"anchor": "old", "correction": "geometric_mask", "correction_min": 0.5, "correction_max": 2.0},
    ],
    "cispo": [{"span": "sequence"}, {"ratio_min": 0.8, "ratio_max": 1.2}],
    "sapo": [{"span": "segment"}],
    "gmpo": [{"span": "token"}],
    "vespo": [{"anchor": "old"}],
    "dppo": [{"divergence": "kl"}, {"ratio_max": 2.0}],
    "prime_rl": [{"mask": "symmetric", "kl_tau": 0.1}],
    "prime_rl_ratio": [{"weight": "sequence", "kl_tau": 0.1}],
    "reinforce": [{"correction": "sequence_tis"}],
    "kl": [
        {"estimator": "k2"},
        {"estimator": "k1", "form": "score_function"},
        {"estimator": "k3", "form": "score_function"},
    ],
    "sft": [{"focal": 2.0}, {"focal": 0.5}],
    "distill": [{"student": "behaviour"}],
    "dpo": [{"length_alpha": 0.05, "reward_margin": 0.5, "reward_weight": 1.0}],
    "bco": [{"delta": 0.1}],
    "kto": [{"kl": 0.3}],
    "kto_unpaired": [{"kl": 0.3}],
    "value": [{"clip": 0.2}, *[{"kind": kind, "delta": 0.3} for kind in ("huber", "smooth_l1", "cauchy")]],
    "bradley_terry": [{"label_smoothing": 0.1, "reward_margin": 0.5, "reward_weight": 0.5}],
    "reward_regression": [{"kind": "huber", "delta": 0.3}],
}


def defaults() -> list[Term]:
    """Each built-in term once."""
    return [make_term(name, type=name) for name in BUILT_IN_TERMS]


def modes() -> list[Term]:
    """Each built-in term once for each of its modes; the mode is part of the name."""
    others = [
        make_term(f"{name} {', '.join(f'{k}={v}' for k, v in kwargs.items())}", type=name, kwargs=kwargs)
        for name, every in _OTHERS.items()
        for kwargs in every
    ]
    return defaults() + others
