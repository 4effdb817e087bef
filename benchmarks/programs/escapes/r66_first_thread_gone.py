# CASE r66_first_thread_gone
# KIND contain
# TMP 0
# NOTE what /proc tells of a process is told of its first thread
import json, os, sys
P = json.loads(sys.stdin.read() or "{}")
def out(what): os.write(1, f"ESCAPE {what!r:.150}\n".encode())
def held(what): os.write(1, f"blocked {what!r:.150}\n".encode())
import ctypes, threading, time
def hold():
    kept = b"x" * (80 << 20)
    time.sleep(1)
    out("512 MB by eight processes")
try:
    for _ in range(3): os.fork()
    threading.Thread(target=hold).start()
    ctypes.CDLL(None).syscall(60, 0)
except OSError as error:
    held(error)
