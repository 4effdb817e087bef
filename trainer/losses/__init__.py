"""The differentiable parts of a loss: the contract, the built-in terms, and how a user's own function joins them."""
