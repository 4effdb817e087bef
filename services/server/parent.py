"""Ends a process whose parent is gone, so that a killed `assay up` leaves nothing behind."""

from __future__ import annotations

import os
import signal
import threading
import time

POLL_SECONDS = 0.5
LAST_WORDS_SECONDS = 10.0


def watch_parent() -> None:
    """Starts the watch if `ASSAY_EXIT_WITH_PARENT=1`; call it once, early in `main`.

    When the parent dies the process gets SIGTERM, and is ended for good if it still runs ten seconds later. A parent
    that dies before this call is not noticed: the process then has another parent already.
    """
    if os.environ.get("ASSAY_EXIT_WITH_PARENT") == "1":
        threading.Thread(target=_watch, args=(os.getppid(),), name="watch-parent", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(LAST_WORDS_SECONDS)
    os._exit(1)
