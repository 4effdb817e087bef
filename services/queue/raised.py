"""Where an exception was raised, for logs and answers that must not quote its message: it may hold prompts or responses."""

from __future__ import annotations


def raised_at(error: BaseException) -> str:
    """Module and line where it was raised."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_globals.get('__name__', '?')}:{trace.tb_lineno}" if trace else "?"
