"""`python -m trainer.cli`: the `assay` command without its script."""

from trainer.cli import app

app(prog_name="assay")
