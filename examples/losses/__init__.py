"""A loss package of a user: it imports nothing of the trainer but the two types of the contract."""
