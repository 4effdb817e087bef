"""Assay as an environment of NeMo RL.

    from nemo_rl.environments.utils import register_env
    register_env("assay", "examples.adapters.nemo_rl_environment.Environment")

and in the job's YAML, beside `data.env_name: assay`:

    env:
      assay:
        weights: {math/correctness: 1.0, math/format: 0.1}
        checks: {gold: ground_truth}
"""

from __future__ import annotations

import ray  # pyright: ignore[reportMissingImports] - comes with NeMo RL

from services.adapters.nemo_rl import AssayEnvironment

Environment = ray.remote(AssayEnvironment)
