"""The rollout service: samples from policies, and log-probabilities of given tokens."""
