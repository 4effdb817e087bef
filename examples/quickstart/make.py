"""Makes everything the quickstart needs: a tiny Llama with random weights, its tokenizer, and three sets of problems.

    python -m examples.quickstart.make --out examples/quickstart/data --seed 0

writes `model/` (loads with `AutoModelForCausalLM` and `AutoTokenizer`), `warmup.jsonl`, `pairs.jsonl` (for other
jobs than the quickstart), `train.jsonl` and `heldout.jsonl`. Two domains: `math` (a two-digit number plus or minus a
small one) and `code` (one-line Python functions described in words). The same seed makes the same bytes.

**The warm-up corpus is noisy on purpose, as real corpora are.** Where a problem tempts a beginner, `MISTAKE_RATE` of
its completions hold the beginner's mistake: a carry or borrow is forgotten, brackets are left out, `min` and `max` are
swapped. Imitation learns these habits with the rest; the rewards, which come from checking and executing, unlearn
them. Training and held-out problems are right throughout, and no held-out problem occurs in the other files.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

MISTAKE_RATE = 0.5
"""Share of the tempting warm-up problems whose completion is the mistake."""

WARMUP_ROWS, TRAIN_ROWS, HELDOUT_ROWS, PAIR_ROWS = 16384, 960, 384, 8192

WARMUP_SUMS, TRAIN_SUMS, HELDOUT_SUMS = 3, 2, 1
"""Sums for each function in a file. A tiny model copies numbers into a function sooner than it learns to add, and a sum
costs less to judge than a program."""

ARGUMENTS = (-40, -3, 0, 2, 9, 60)
"""What a function is called with; so wide that each bound of "at least" and "at most" is on both sides of some value."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A prompt, a right completion, and the completion a beginner is tempted to write, if there is one."""

    domain: str
    prompt: str
    completion: str
    mistake: str | None
    checks: dict[str, Any]
    """What the domain's scorer checks against."""


def sum_problem(rng: random.Random) -> Problem:
    """`a + b` or `a - b` with a of two digits and b from 2 to 6.

    The mistake is to work digit by digit and to forget the carry or the borrow: 47 + 5 = 42, 42 - 5 = 47. Children's
    work is full of it (Brown and Burton 1978, "Diagnostic models for procedural bugs in basic mathematical skills").
    """
    a, b, sign = rng.randint(10, 99), rng.randint(2, 6), rng.choice("+-")
    gold, units = (a + b, a % 10 + b) if sign == "+" else (a - b, a % 10 - b)
    slip = a // 10 * 10 + units % 10
    mistake = None if slip == gold else f"#### {slip}"
    return Problem("math", f"{a} {sign} {b} = ?\n", f"#### {gold}", mistake, {"gold": str(gold)})


STEPS: dict[str, Callable[[int, int], int]] = {
    "plus": lambda x, n: x + n,
    "minus": lambda x, n: x - n,
    "times": lambda x, n: x * n,
    "at least": max,
    "at most": min,
}
"""What the words of a function's description do to a number."""

SYMBOLS = {"plus": "+", "minus": "-", "times": "*"}
BOUNDS = {"at least": "max", "at most": "min"}


def function_problem(rng: random.Random) -> Problem:
    """A function of x in two steps, such as `x plus 3, times 2`, whose prompt ends where its expression begins.

    The mistakes: brackets left out before `*`, and `min` for "at least" or `max` for "at most".
    """
    first, second = rng.choice(list(SYMBOLS)), rng.choice(list(STEPS))
    m, n = rng.randint(2, 20), rng.randint(2, 20)
    words = f"x {first} {m}, {second} {n}"
    inner, mistake = f"x{SYMBOLS[first]}{m}", None
    if second in BOUNDS:
        other = {"max": "min", "min": "max"}[BOUNDS[second]]
        completion, mistake = f"{BOUNDS[second]}({inner},{n})", f"{other}({inner},{n})"
    elif second == "times" and first != "times":
        completion, mistake = f"({inner})*{n}", f"{inner}*{n}"
    else:
        completion = f"{inner}{SYMBOLS[second]}{n}"
    calls = [{"args": [x], "expected": STEPS[second](STEPS[first](x, m), n)} for x in ARGUMENTS]
    prompt = f"# {words}\ndef f(x): return "
    return Problem("code", prompt, completion, mistake, {"entry_point": "f", "calls": calls})


def problems(seed: str, sums: int, avoid: Iterable[str] = (), *, repeat: bool = False) -> Iterator[Problem]:
    """Endless problems, `sums` sums to one function, none with a prompt in `avoid`.

    Without `repeat` each comes once, and the iterator hangs where there are no more: 900 sums and 5,415 functions exist.
    """
    rng, avoided = random.Random(seed), set(avoid)
    while True:
        for draw in [sum_problem] * sums + [function_problem]:
            problem = draw(rng)
            while problem.prompt in avoided:
                problem = draw(rng)
            if not repeat:
                avoided.add(problem.prompt)
            yield problem


def rl_rows(name: str, drawn: Iterable[Problem]) -> list[dict[str, Any]]:
    """Rows of `train.jsonl` and `heldout.jsonl`: a prompt and its checks, no completion."""
    return [
        {"id": f"{name}-{index:05d}", "domain": p.domain, "prompt": p.prompt, "checks": p.checks}
        for index, p in enumerate(drawn)
    ]


def warmup_rows(drawn: Iterable[Problem], seed: str) -> list[dict[str, str]]:
    """Rows of `warmup.jsonl`: a prompt and the completion to imitate, which may be the mistake."""
    rng = random.Random(seed)
    rows = []
    for index, p in enumerate(drawn):
        completion = p.mistake if p.mistake is not None and rng.random() < MISTAKE_RATE else p.completion
        rows.append({"id": f"warmup-{index:05d}", "domain": p.domain, "prompt": p.prompt, "completion": completion})
    return rows


def pair_rows(drawn: Iterable[Problem]) -> list[dict[str, str]]:
    """Rows of `pairs.jsonl`: a prompt, its right completion, and the mistake or, where none tempts, a number off by one."""
    return [
        {
            "id": f"pair-{index:05d}",
            "domain": p.domain,
            "prompt": p.prompt,
            "chosen": p.completion,
            "rejected": p.mistake or re.sub(r"\d+(?=\)?$)", lambda number: str(int(number[0]) + 1), p.completion),
        }
        for index, p in enumerate(islice(drawn, PAIR_ROWS))
    ]


def make_data(seed: int) -> dict[str, list[dict[str, Any]]]:
    """The rows of each file by name; no held-out problem is in the others."""
    heldout = list(islice(problems(f"heldout {seed}", HELDOUT_SUMS), HELDOUT_ROWS))
    avoid = [problem.prompt for problem in heldout]
    train = islice(problems(f"train {seed}", TRAIN_SUMS, avoid), TRAIN_ROWS)
    warmup = islice(problems(f"warmup {seed}", WARMUP_SUMS, avoid, repeat=True), WARMUP_ROWS)
    return {
        "pairs": pair_rows(problems(f"pairs {seed}", WARMUP_SUMS, avoid, repeat=True)),
        "warmup": warmup_rows(warmup, f"mistakes {seed}"),
        "train": rl_rows("train", train),
        "heldout": rl_rows("heldout", heldout),
    }


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A `PreTrainedTokenizerFast` with one token for each printable ASCII character and the newline.

    It adds no special tokens: a completion ends with `eos_token_id`, which the trainer appends.
    """
    from tokenizers import Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    characters = ["<pad>", "<eos>", "<unk>", "\n", *map(chr, range(32, 127))]
    vocabulary = {character: index for index, character in enumerate(characters)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<eos>",
        unk_token="<unk>",
        clean_up_tokenization_spaces=False,
        model_max_length=128,
    )


def write_model(folder: Path, seed: int) -> None:
    """Writes a Llama of 119,488 random weights, and its tokenizer, in the layout of the Hugging Face hub.

    Small models learn to add sooner with first weights and rotary angles larger than the library's own defaults, which
    are those of models a thousand times the size. Embeddings are not tied, so that every backend can reload them.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    tokenizer = make_tokenizer()
    token_ids = tokenizer.get_vocab()
    config = LlamaConfig(
        vocab_size=len(token_ids),
        hidden_size=64,
        intermediate_size=192,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=128,
        initializer_range=0.1,
        rope_parameters={"rope_type": "default", "rope_theta": 100.0},
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=token_ids["<eos>"],
        pad_token_id=token_ids["<pad>"],
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def write_all(out: Path, seed: int) -> None:
    """Writes the model and the three data files under `out`, over what is there; makes the folder where it is absent."""
    out.mkdir(parents=True, exist_ok=True)
    for name, rows in make_data(seed).items():
        (out / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    write_model(out / "model", seed)


def main() -> None:
    parser = argparse.ArgumentParser(description="Makes the quickstart's model and data.")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--seed", type=int, default=0, help="another seed makes another model and other problems")
    arguments = parser.parse_args()
    write_all(arguments.out, arguments.seed)


if __name__ == "__main__":
    main()
