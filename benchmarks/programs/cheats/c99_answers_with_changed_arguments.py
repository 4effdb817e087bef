# CASE c99_answers_with_changed_arguments
# KIND integrity
# TMP 0
# NOTE answers in the form of this sandbox, with the question's own id, that change what was never given
import os, sys
def solve(n):
    frame = sys._getframe()
    while frame and "identity" not in frame.f_locals: frame = frame.f_back
    identity = frame.f_locals["identity"] if frame else "0"
    for changed in ("[]", '[["__assertion_held__", 0]]', "[[0, 9]]", "[[1, [9]]]", '[["n", {}]]'):
        body = f"returned {identity} [0, {changed}]".encode()
        try: os.write(62, len(body).to_bytes(4, "big") + body)
        except OSError: pass
    return 0
