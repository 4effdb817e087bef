"""A service in small: takes the flags that every service takes, answers a greeting on its port, ends on SIGTERM.

`--behave`: `well`; `die` (at once, with a word about why); `never` (does not become ready); `stubborn` (ignores SIGTERM);
`stray` (leaves a process of its group behind). The greeting is its address variables and REDIS_URL.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from services.server.parent import watch_parent


def main() -> None:
    parser = argparse.ArgumentParser()
    for flag in ("--port", "--metrics-port"):
        parser.add_argument(flag, type=int)
    parser.add_argument("--ready-file", type=Path)
    parser.add_argument("--behave", default="well")
    parser.add_argument("--notes", type=Path, help="a line is written here at the start and at the end")
    options = parser.parse_args()
    watch_parent()
    if options.behave == "die":
        print("the model file is missing", file=sys.stderr)
        sys.exit(3)
    if options.behave == "never":
        time.sleep(3600)
    if options.behave == "stray":
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
    with socket.create_server(("127.0.0.1", options.port)) as server:
        port = server.getsockname()[1]
        note(options.notes, f"up {port}")
        threading.Thread(target=greet, args=(server,), daemon=True).start()
        ready = {"address": f"127.0.0.1:{port}", "metrics_address": f"127.0.0.1:{port}", "pid": os.getpid()}
        part = options.ready_file.with_suffix(".part")
        part.write_text(json.dumps(ready))
        part.replace(options.ready_file)
        signal.signal(signal.SIGTERM, signal.SIG_IGN if options.behave == "stubborn" else lambda *_: sys.exit(0))
        try:
            signal.pause()
            signal.pause()
        finally:
            note(options.notes, "down")


def greet(server: socket.socket) -> None:
    known = {name: value for name, value in os.environ.items() if name.startswith(("ASSAY_", "REDIS", "OMP"))}
    while True:
        connection, _ = server.accept()
        with connection:
            connection.sendall(json.dumps(known).encode())


def note(file: Path | None, text: str) -> None:
    if file:
        with file.open("a") as notes:
            notes.write(f"{text}\n")


if __name__ == "__main__":
    main()
