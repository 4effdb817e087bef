# CASE r70_where_no_walk_goes
# KIND contain
# TMP 1
# NOTE directories that cannot be listed, and paths that are too long
import json, os, sys
P = json.loads(sys.stdin.read() or "{}")
def out(what): os.write(1, f"ESCAPE {what!r:.150}\n".encode())
def held(what): os.write(1, f"blocked {what!r:.150}\n".encode())
total = 0
def fill(folder):
    global total
    for number in range(6):
        with open(f"{folder}{number}", "wb", buffering=0) as file: total += file.write(bytes(16 << 20))
try:
    os.mkdir("closed", 0o300)
    fill("closed/")
    for number in range(20):
        os.mkdir("x" * 250)
        os.chdir("x" * 250)
    fill("")
    out(f"{total >> 20} MB")
except OSError as error:
    held((total >> 20, "MB", error))
