"""Scores responses by asking a language model, with rubrics."""
