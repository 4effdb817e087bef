"""The judge: what becomes of an endpoint's faults, what a request costs beside the model.

`judge_figures()` needs no model: the endpoint is an HTTP server in a process of its own, which knows the right score.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from benchmarks.figures import Figure
from services.judge.scorer import JudgeScorer
from services.verdicts import Item, Outcome, Verdict

ITEMS = 2000
UNREADABLE = (
    *("", "4", "I give it a 4.", "[4]", '{"score": 4}', '{"reason": "a", "score": 0}', '{"reason": "a", "score": 6}'),
    *('{"reason": "a", "score": 4.5}', '{"reason": "a", "score": "4"}', '{"reason": "a", "score": true}'),
    *('{"reason": "a", "score": NaN}', '{"reason": "a", "score": 1, "score": 5}', '{"reason": "a", "sco'),
    *('{"reason": "a", "score": 1} {"reason": "b", "score": 5}', '{"verdict": {"reason": "a", "score": 5}}'),
)
FAULTS = ("500", "503", "429", "drop", "garbage", "prose", "length")
"""What the first requests of an item come to, one to four of them for four items in ten."""


async def judge_figures() -> list[Figure]:
    """Every figure of the judge."""
    async with _endpoint() as url:
        faults, texts = await _with_faults(url), await _unreadable(url)
        milliseconds = await _cost(url)
    lost, wrong = faults["lost"], faults["wrong"]
    return [
        Figure(
            f"judge: {ITEMS} items, four in ten first requests fail",
            f"{faults['right']} right, {faults['missing']} missing, {wrong} wrong, {lost} lost",
            "0 wrong, 0 lost",
            wrong == lost == 0 and faults["right"] > 0,
        ),
        Figure(f"judge: {len(UNREADABLE)} kinds of answers that cannot be read, scored", str(texts), "0", texts == 0),
        Figure("judge: its CPU time for a request", f"{milliseconds:.2f} ms", "5 ms", milliseconds <= 5),
    ]


def _judge(url: str, **settings: Any) -> JudgeScorer:
    return JudgeScorer(settings={"base_url": url, "model": "m", "concurrency": 32, **settings}, item_seconds=120.0)


async def _outcomes(judge: JudgeScorer, items: Sequence[Item]) -> list[Outcome]:
    turns = asyncio.Semaphore(judge.concurrency)

    async def one(item: Item) -> Outcome:
        async with turns:
            return (await judge.score([item]))[0]

    return await asyncio.gather(*map(one, items))


async def _with_faults(url: str) -> Counter[str]:
    items = [Item(str(n), "?", f"FAULTS number {n} RIGHT={n % 5 + 1}") for n in range(ITEMS)]
    counts: Counter[str] = Counter()
    outcomes = await _outcomes(_judge(url), items)
    for number, outcome in enumerate(outcomes):
        if isinstance(outcome, Verdict):
            right = outcome.components["judge/helpfulness"] == number % 5 / 4
            counts["right" if right else "wrong"] += 1
        else:
            counts["missing"] += 1
    counts["lost"] += len(items) - len(outcomes)
    return counts


async def _unreadable(url: str) -> int:
    items = [Item(str(n), "?", f"UNREADABLE={n}.") for n in range(len(UNREADABLE))]
    return sum(isinstance(outcome, Verdict) for outcome in await _outcomes(_judge(url), items))


async def _cost(url: str) -> float:
    """Milliseconds of this process for a request, the best of three rounds."""
    judge = _judge(url)
    rounds = []
    for turn in range(3):
        items = [Item(str(n), "What is it?" * 20, f"{turn} {n} RIGHT=4 " + "word " * 200) for n in range(300)]
        start = time.process_time()
        await _outcomes(judge, items)
        rounds.append((time.process_time() - start) * 1000 / len(items))
    return min(rounds)


@asynccontextmanager
async def _endpoint() -> AsyncIterator[str]:
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.scorers_judge", "serve", stdout=asyncio.subprocess.PIPE
    )
    assert server.stdout is not None
    port = int(await server.stdout.readline())
    try:
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.kill()
        await server.wait()


async def _serve() -> None:
    """An endpoint that knows the right score, and fails as items tell it."""
    tries: Counter[str] = Counter()

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                found = re.search(rb"content-length: (\d+)", head.lower())
                body = json.loads(await reader.readexactly(int(found[1]) if found else 0))
                answer = _respond(body["messages"][1]["content"], tries)
                if answer is None:
                    break
                status, content = answer
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(content), content))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()

    server = await asyncio.start_server(connection, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def _respond(text: str, tries: Counter[str]) -> tuple[int, bytes] | None:
    """Status and body; None to drop the connection."""
    if found := re.search(r"UNREADABLE=(\d+)\.", text):
        return 200, _completion(UNREADABLE[int(found[1])])
    found = re.search(r"RIGHT=(\d)", text)
    assert found is not None
    right = json.dumps({"reason": "It is so.", "score": int(found[1])})
    number = re.search(r"FAULTS number (\d+)", text)
    if number is None:
        return 200, _completion(right)
    place = tries[number[1]]
    tries[number[1]] += 1
    fault = FAULTS[int(number[1]) % len(FAULTS)] if place < int(number[1]) % 10 - 5 else ""
    match fault:
        case "drop":
            return None
        case "garbage":
            return 200, b"<html>"
        case "prose":
            return 200, _completion("I would say 3.")
        case "length":
            return 200, _completion('{"reason": "a", "score": 1}', "length")
        case "":
            return 200, _completion(right)
    return int(fault), b"{}"


def _completion(content: str, finish: str = "stop") -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": finish}
    return json.dumps({"choices": [choice], "usage": {"prompt_tokens": 500, "completion_tokens": 20}}).encode()


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        asyncio.run(_serve())
    else:
        from benchmarks.figures import report

        sys.exit(report(asyncio.run(judge_figures())))
