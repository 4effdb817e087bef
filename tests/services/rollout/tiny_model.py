"""Makes tiny random Llama models with a tokenizer of one token a character, saved like any other model."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from services.rollout.engine import Probe, TokenSequence

SPECIALS = ["<pad>", "<s>", "</s>"]
ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz +-*/=()\n"
EOS_ID = SPECIALS.index("</s>")
VOCABULARY = len(SPECIALS) + len(ALPHABET)


def tiny_tokenizer(*, adds_eos: bool = False) -> PreTrainedTokenizerFast:
    """Characters as tokens; puts `<s>` before a text, and with `adds_eos` also `</s>` after it."""
    words = {word: index for index, word in enumerate([*SPECIALS, *ALPHABET])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>" if adds_eos else "<s> $A", special_tokens=[("<s>", 1), ("</s>", EOS_ID)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<pad>"
    )


def save_tiny_model(
    directory: Path, *, seed: int = 0, tied: bool = False, layers: int = 2, hidden: int = 32, flat: float = 1.0
) -> Path:
    """Saves a random Llama and its tokenizer; `flat` below 1 brings its distributions nearer to the uniform one."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=128,
        tie_word_embeddings=tied,
        initializer_range=0.2,
        bos_token_id=1,
        eos_token_id=EOS_ID,
        pad_token_id=0,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        model.model.norm.weight.mul_(flat)
    model.save_pretrained(directory)
    tiny_tokenizer().save_pretrained(directory)
    return directory


def save_other_architecture(directory: Path, config: PreTrainedConfig) -> Path:
    """Saves a random model of any architecture with the tiny tokenizer. Returns the directory."""
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(directory)
    tiny_tokenizer().save_pretrained(directory)
    return directory


def sha256_of(directory: Path) -> str:
    """SHA-256 of the directory's `model.safetensors`."""
    return hashlib.sha256((directory / "model.safetensors").read_bytes()).hexdigest()


def plain_logprobs(model: PreTrainedModel, prompt: tuple[int, ...], completion: tuple[int, ...]) -> torch.Tensor:
    """Log-probabilities of the completion by one forward pass without padding or cache, float32 (completion,)."""
    with torch.inference_mode():
        logits = model(torch.tensor([[*prompt, *completion]])).logits[0]
    table = logits[len(prompt) - 1 : -1].float().log_softmax(dim=-1)
    return table.gather(1, torch.tensor(completion)[:, None])[:, 0]


def load_plain(directory: Path) -> PreTrainedModel:
    """The model as transformers loads it."""
    return AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()


def plain_probes(directory: Path, sequences: Sequence[TokenSequence]) -> tuple[Probe, ...]:
    """The sequences with the log-probabilities of the model as transformers loads it."""
    model = load_plain(directory)
    return tuple(
        Probe(each, tuple(plain_logprobs(model, each.prompt_token_ids, each.completion_token_ids).tolist()))
        for each in sequences
    )
