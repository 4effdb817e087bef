"""`python -m examples.quickstart`: makes the tiny model and its data, then trains it through every part of Assay."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from examples.quickstart.make import write_all
from trainer.cli.local import run

HERE = Path(__file__).parent


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.quickstart", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="seed of the data and of the model's first weights")
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"), help="folder for the run's results")
    parser.add_argument("--plain", action="store_true", help="print every tenth step instead of a live display")
    parser.add_argument("--engine", choices=["transformers", "vllm"], default="transformers", help="what samples")
    arguments = parser.parse_args()
    write_all(HERE / "data", arguments.seed)
    job = HERE / "job.toml"
    if arguments.engine != "transformers":
        text = job.read_text().replace("[rollout]\n", f'[rollout]\nengine = "{arguments.engine}"\n')
        job = HERE / "data" / f"{arguments.engine}.toml"
        job.write_text(text.replace('"data/', '"'))  # its paths start where it lies
    return run(job, None, arguments.runs_dir, arguments.plain or not sys.stdout.isatty())


if __name__ == "__main__":
    sys.exit(main())
