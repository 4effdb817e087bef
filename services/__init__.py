"""Scoring, sandbox, rollout and job services, their queue, and typed clients. Nothing here imports the trainer."""
