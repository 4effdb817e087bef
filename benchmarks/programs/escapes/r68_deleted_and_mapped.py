# CASE r68_deleted_and_mapped
# KIND contain
# TMP 1
# NOTE neither a name nor a descriptor
import json, os, sys
P = json.loads(sys.stdin.read() or "{}")
def out(what): os.write(1, f"ESCAPE {what!r:.150}\n".encode())
def held(what): os.write(1, f"blocked {what!r:.150}\n".encode())
import ctypes
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
total = 0
try:
    for number in range(12):
        with open("file", "wb+", buffering=0) as file:
            os.unlink("file")
            total += file.write(bytes(16 << 20))
            if libc.mmap(None, 4096, 1, 1, file.fileno(), 0) == ctypes.c_void_p(-1).value: raise MemoryError
    out(f"{total >> 20} MB without a name")
except (OSError, MemoryError) as error:
    held((total >> 20, "MB", error))
