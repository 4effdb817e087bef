"""The safety service: toxicity, personal data and refusals in responses."""
