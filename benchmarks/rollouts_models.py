"""Small random models for the benchmarks of rollouts, and what the trainer says of completions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from services.rollout.engine import Probe, PromptCompletions, TokenSequence
from trainer.batching import make_micro_batches
from trainer.policy import load_policy
from trainer.sample import Sample

ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz +-*/=()\n"
WORDS = {word: place for place, word in enumerate(["<pad>", "<s>", "</s>", *ALPHABET])}


def save_model(directory: Path, *, seed: int, tied: bool, hidden: int = 64, layers: int = 2) -> Path:
    """A Llama of random weights and wide distributions, with a tokenizer of one token a character. Its heads have 32
    numbers: vLLM's attention on a CPU computes no smaller ones."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(WORDS), hidden_size=hidden, intermediate_size=2 * hidden, num_hidden_layers=layers,
        num_attention_heads=hidden // 32, num_key_value_heads=hidden // 32, max_position_embeddings=256,
        tie_word_embeddings=tied, initializer_range=0.2, bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        model.model.norm.weight.mul_(0.3)
    model.save_pretrained(directory)
    tokenizer = Tokenizer(models.WordLevel(WORDS, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<pad>"
    ).save_pretrained(directory)
    return directory


@torch.no_grad()
def largest_difference(directory: Path, results: Sequence[PromptCompletions]) -> float:
    """Between the completions' log-probabilities and those that the trainer's policy computes from a directory, in nats."""
    samples = [
        Sample(result.prompt_token_ids, completion.token_ids, logprobs=completion.logprobs, advantage=0.0)
        for result in results
        for completion in result.completions
    ]
    policy = load_policy(directory)
    differences = []
    for batch in make_micro_batches(samples, 64):
        inference = batch.known.inference_logprobs
        assert inference is not None
        differences.append(float((policy(batch)["trainer_logprobs"] - inference).abs().max()))
    return max(differences)


def canary(directory: Path, count: int = 4) -> list[Probe]:
    """Random tokens with the trainer's log-probabilities."""
    policy = load_policy(directory)
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(count):
        ids = torch.randint(3, len(WORDS), (24,), generator=generator).tolist()
        sequence = TokenSequence(tuple(ids[:4]), tuple(ids[4:]))
        (batch,) = make_micro_batches([Sample(sequence.prompt_token_ids, sequence.completion_token_ids)], 1)
        with torch.no_grad():
            values = policy(batch)["trainer_logprobs"].tolist()
        found.append(Probe(sequence, tuple(values)))
    return found


def tokens(results: Sequence[PromptCompletions]) -> int:
    """Sampled tokens."""
    return sum(len(completion.token_ids) for result in results for completion in result.completions)
