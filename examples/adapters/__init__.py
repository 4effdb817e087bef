"""Assay's rewards in other trainers: one file a trainer. docs/adapters.md says how each is run."""
