"""Rewards of Assay for verl. The configuration names this file and the function in it:

reward.custom_reward_function.path=examples/adapters/verl_reward.py
reward.custom_reward_function.name=compute_score
"""

from __future__ import annotations

from services.adapters.verl import reward_function
from services.rewards import Plan

compute_score = reward_function(
    Plan({"math/correctness": 1.0, "math/format": 0.1}),
    domain={"openai/gsm8k": "math", "lighteval/MATH": "math"},
    prompt="question",  # verl's own preprocessing puts it into extra_info
)
