"""The trainer: job files, composite losses, and the loop that turns scored rollouts into weights."""
