"""Rewards of Assay for OpenRLHF: `--reward.remote_url examples/adapters/openrlhf_reward.py`.

Over HTTP it needs no file: `assay serve --http --start`, and `--reward.remote_url http://HOST:8080/v1/openrlhf?domain=math`.
"""

from __future__ import annotations

from services.adapters.openrlhf import reward_function
from services.rewards import Plan

reward_func = reward_function(Plan({"math/correctness": 1.0, "math/format": 0.1}))
