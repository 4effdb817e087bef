"""Why a text has no value here; see also `polynomial.TooLargeError` and `expression.UndefinedError`."""


class UnreadableError(ValueError):
    """The text means nothing: brackets that do not match, prose, two numbers side by side."""


class ForeignError(ValueError):
    """The text may mean something, in a notation that is not read here; Math-Verify may know it."""
