# CASE r64_children_nobody_waits_for
# KIND contain
# TMP 0
# NOTE the kernel forgets their time
import json, os, sys
P = json.loads(sys.stdin.read() or "{}")
def out(what): os.write(1, f"ESCAPE {what!r:.150}\n".encode())
def held(what): os.write(1, f"blocked {what!r:.150}\n".encode())
import signal, time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
used = 0.0
try:
    while used < 2.5:
        for _ in range(4):
            if os.fork() == 0:
                end = time.process_time() + 0.006
                while time.process_time() < end: pass
                os._exit(0)
            used += 0.006
        time.sleep(0.013)
    out(f"{used:.1f} s of CPU time by children")
except OSError as error:
    held((used, error))
