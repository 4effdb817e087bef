"""The error that keeps a service from starting."""


class StartError(Exception):
    """The service cannot start. The message is for the person who started it; the process exits with code 2."""
