"""Rewards for trainers that are not Assay's: one file a trainer, each gives what that trainer calls.

None of them imports the trainer it is for, or anything beyond the extra `client`, until it is called by it.
"""
