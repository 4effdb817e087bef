"""The warm-up's own loss: what fits its data is taken, what only rollouts bring is refused with the mend."""

import json
import math

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from trainer.assembly import probe_terms, warmup_composite
from trainer.batching import make_micro_batches
from trainer.config import JobFileError, parse_job
from trainer.data import DataError
from trainer.demonstrations import Comparison, Demonstration, read_supervised
from trainer.policy import Policy
from trainer.sample import Sample

PAIR = {"prompt": "2 + 2 = ", "chosen": "4", "rejected": "5"}
DEMONSTRATION = {"prompt": "2 + 2 = ", "completion": "4"}


def job(path, terms):
    return parse_job(
        {
            "job": {"name": "j"},
            "model": {"path": "m"},
            "data": {"train": "t"},
            "warmup": {"path": str(path), "steps": 3, "terms": terms},
            "rollout": {"prompts_per_step": 1, "samples_per_prompt": 2, "max_new_tokens": 1},
            "rewards": {"scorers": {"math": ["math"]}, "weights": {"math/correctness": 1.0}},
            "loss": {"terms": [{"name": "policy", "type": "grpo"}]},
            "optim": {"steps": 1, "learning_rate": 1e-3},
        }
    )


def written(folder, *rows):
    path = folder / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def test_the_first_row_says_what_a_file_holds(tmp_path):
    assert read_supervised(written(tmp_path, PAIR)) == [Comparison("2 + 2 = ", "4", "5")]
    assert read_supervised(written(tmp_path, DEMONSTRATION)) == [Demonstration("2 + 2 = ", "4")]
    with pytest.raises(DataError, match="line 2: field 'rejected' is missing"):
        read_supervised(written(tmp_path, PAIR, {"prompt": "p", "chosen": "c"}))
    with pytest.raises(DataError, match="line 2: field 'completion' is missing"):
        read_supervised(written(tmp_path, DEMONSTRATION, PAIR))
    for value, kind in ((0, "int"), (None, "NoneType"), ("", r"str \(empty\)")):
        with pytest.raises(DataError, match=f"line 1: field 'completion' is {kind}; it must be a text"):
            read_supervised(written(tmp_path, {**DEMONSTRATION, "completion": value}))


def test_pairs_and_demonstrations_feed_their_terms(tmp_path):
    pairs = [{"name": "p", "type": "dpo"}, {"name": "k", "type": "kto"}, {"name": "s", "type": "nll_chosen"}]
    assert probe_terms(job(written(tmp_path, PAIR), pairs)) == []
    assert probe_terms(job(written(tmp_path, DEMONSTRATION), [{"name": "s", "type": "sft", "kwargs": {"focal": 2.0}}])) == []
    assert "add a term, such as dpo" in probe_terms(job(written(tmp_path, PAIR), []))[0]
    assert [term.name for term in warmup_composite(job(written(tmp_path, PAIR), [])).terms] == ["sft"]


CONTROLLED = {"controller": "running_scale", "start": 0.1, "min": 0.01, "max": 1.0}
TOO_LONG = {"schedule": "warmup_hold_decay", "peak": 1.0, "warmup_steps": 9, "hold_steps": 9}


@pytest.mark.parametrize(
    ("row", "term", "said"),
    [
        (PAIR, {"type": "grpo"}, "which only rollouts bring"),
        (PAIR, {"type": "sft"}, "imitates the rejected rows too; take 'nll_chosen'"),
        (PAIR, {"type": "value"}, "which only rollouts bring"),
        (DEMONSTRATION, {"type": "dpo"}, "give rows with prompt, chosen and rejected in warmup.path"),
        (DEMONSTRATION, {"type": "kto_unpaired"}, "give rows with prompt, chosen and rejected"),
        (DEMONSTRATION, {"type": "sft", "weight": TOO_LONG}, "weight: warmup_hold_decay: warmup_steps 9 and hold_steps 9"),
        (DEMONSTRATION, {"type": "sft", "kwargs": {"focal": TOO_LONG}}, "kwargs.focal: warmup_hold_decay"),
        (DEMONSTRATION, {"type": "sft", "weight": {"schedule": "no_such.fn"}}, "cannot be imported"),
        (PAIR, {"type": "dpo", "weight": CONTROLLED}, "controllers stand in [[loss.terms]]"),
        (PAIR, {"type": "forward_kl"}, "[model] teacher"),
        (DEMONSTRATION, {"type": "sft", "aggregation": "segment_mean"}, "needs segments"),
        (PAIR, {"type": "dpo", "kwargs": {"beta": -0.1}}, "beta must be"),
        (PAIR, {"type": "dpo", "kwargs": {"betta": 0.1}}, "did you mean 'beta'"),
    ],
)
def test_what_a_warm_up_cannot_feed_is_refused(tmp_path, row, term, said):
    problems = probe_terms(job(written(tmp_path, row), [{"name": "t", **term}]))
    assert problems and all(p.startswith("warmup.terms: term 't'") for p in problems)
    assert said in " ".join(problems)


def test_a_warm_up_without_a_weight_is_refused(tmp_path):
    terms = [{"name": name, "type": "sft", "weight": 0.0} for name in "st"]
    assert "every weight is 0 at every step" in probe_terms(job(written(tmp_path, DEMONSTRATION), terms))[0]
    terms[0]["weight"] = {"schedule": "linear", "start": 0.0, "end": 1.0}
    assert probe_terms(job(written(tmp_path, DEMONSTRATION), terms)) == []


def test_names_of_warm_up_terms_are_unique(tmp_path):
    with pytest.raises(JobFileError, match="'s' is used twice"):
        job(written(tmp_path, PAIR), [{"name": "s", "type": "sft"}] * 2)


def test_the_reference_is_the_model_that_training_begins_with_and_stays_so():
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}

    def model():
        torch.manual_seed(0)
        return LlamaForCausalLM(LlamaConfig(vocab_size=20, max_position_embeddings=16, **size))

    policy = Policy(model(), reference=model())
    (batch,) = make_micro_batches([Sample([1], [2, 3]), Sample([4], [5])], 2)
    first = policy(batch, frozenset({"ref_logprobs"}))
    assert torch.equal(first["ref_logprobs"], first["trainer_logprobs"]) and not first["ref_logprobs"].requires_grad
    assert len(list(policy.parameters())) == len(list(policy.model.parameters()))
    first["trainer_logprobs"].sum().backward()
    torch.optim.SGD(policy.parameters(), lr=0.1).step()
    second = policy(batch, frozenset({"ref_logprobs"}))
    assert torch.equal(second["ref_logprobs"], first["ref_logprobs"])
    assert not math.isclose(second["trainer_logprobs"].sum().item(), first["trainer_logprobs"].sum().item())
