"""Rewards of Assay for tasks of verifiers, and so for prime-rl: `rewards = {assay = {fn = "examples.adapters.verifiers_reward:assay"}}`
under the task's configuration (`[env.taskset.task]`), or a call of `assay` in a `@vf.reward` method.
"""

from __future__ import annotations

from services.adapters.verifiers import reward
from services.rewards import Plan

assay = reward(Plan({"math/correctness": 1.0, "math/format": 0.1}), {"gold": "answer"})
