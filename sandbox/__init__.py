"""Runs programs and functions that nobody trusts, in confined processes. Standard library only, Linux only.

    from sandbox.execute import Program, execute
    from sandbox.session import Session

    result = await execute(Program("print(input())", stdin=b"hello"))
    async with Session("def double(n): return 2 * n") as session:
        assert await session.call("double", [21]) == 42

It executes and reports; it never judges and is never told what is right. `python -m sandbox doctor` says what confines a
run on this machine and what that leaves open. This module imports nothing: it is imported anew for each run.
"""
