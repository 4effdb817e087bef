"""What goes wrong in a service: it cannot start, its workers are busy or gone, a call in a worker fails."""


class StartError(Exception):
    """The service cannot start. The message is for the person who started it; the process exits with code 2."""


class PoolFullError(Exception):
    """As much is taken in as `limit` allows; try again after `retry_after_seconds`."""

    retry_after_seconds = 0.5


class PoolDownError(Exception):
    """No worker process is alive and none could be started; the pool goes on trying."""


class CallTimeoutError(Exception):
    """The call took longer in its worker than it may; the worker was killed."""


class WorkerDiedError(Exception):
    """The worker ended in the middle of the call, by itself or by somebody's signal.

    `shared`: other calls were under way in it, so that nobody knows whose fault it was.
    """

    def __init__(self, *, shared: bool = False) -> None:
        super().__init__()
        self.shared = shared


class CallFailedError(Exception):
    """The method raised. `type_name` names the exception; `message` is its text and may quote the payload."""

    def __init__(self, type_name: str, message: str) -> None:
        super().__init__(type_name)
        self.type_name = type_name
        self.message = message
