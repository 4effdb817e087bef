"""The policy's scores against the plain way, and the promise that logits are never whole in memory."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)

from trainer.batching import make_micro_batches
from trainer.policy import ModelError, Policy, load_policy
from trainer.sample import Sample

SIZE = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
VOCABULARY = 37
SAMPLES = [Sample([1, 2, 3], [4, 5]), Sample([9], [7, 8, 9, 10, 11]), Sample([30, 31], [36])]


def llama(**options):
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, max_position_embeddings=32, **{**SIZE, **options}))


def gpt2():
    torch.manual_seed(0)
    tokens = {"bos_token_id": 0, "eos_token_id": 0}
    return GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, n_embd=16, n_layer=2, n_head=2, n_positions=32, **tokens))


def plain(model, samples):
    """One sequence at a time, no padding, all logits."""
    logprobs, entropies = [], []
    for sample in samples:
        logits = model(torch.tensor([[*sample.prompt_ids, *sample.completion_ids]])).logits[0]
        table = logits.float().log_softmax(-1)[len(sample.prompt_ids) - 1 : -1]
        logprobs.append(table[torch.arange(len(table)), torch.tensor(sample.completion_ids)])
        entropies.append(-(table.exp() * table).sum(-1))
    return torch.cat(logprobs), torch.cat(entropies)


@pytest.mark.parametrize("model", [llama(), llama(tie_word_embeddings=True), gpt2()], ids=["llama", "tied", "gpt2"])
@pytest.mark.parametrize("chunk", [1, 3, 1000])
def test_scores_and_gradients_are_those_of_the_plain_way(model, chunk):
    policy = Policy(model, logits_per_chunk=chunk * VOCABULARY)
    (batch,) = make_micro_batches(SAMPLES, 3)
    ordered = sorted(SAMPLES, key=lambda s: len(s.prompt_ids) + len(s.completion_ids))
    expected = plain(model, ordered)
    scores = policy(batch, frozenset({"entropy"}))
    seen = (scores["trainer_logprobs"], scores["entropy"])
    gradients = []
    for logprobs, entropy in (seen, expected):
        model.zero_grad()
        weights = torch.linspace(-1, 1, len(logprobs))
        (logprobs * weights + entropy * weights.flip(0)).sum().backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters()})
    for one, other in zip(seen, expected, strict=True):
        assert torch.allclose(one, other, atol=2e-6, rtol=0)
    for name, gradient in gradients[0].items():
        assert torch.allclose(gradient, gradients[1][name], atol=1e-5, rtol=1e-5), name


def test_entropy_is_not_computed_unless_asked_for():
    assert set(Policy(llama())(make_micro_batches(SAMPLES, 3)[0])) == {"trainer_logprobs"}


class LogitRows(TorchDispatchMode):
    """Remembers the numbers of rows of all tensors over the vocabulary."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(tensor, torch.Tensor) and tensor.dim() == 2 and tensor.shape[1] == VOCABULARY:
                self.seen.add(tensor.shape[0])
        return result


def test_no_tensor_holds_the_logits_of_more_than_a_chunk():
    policy = Policy(llama(), logits_per_chunk=4 * VOCABULARY)
    (batch,) = make_micro_batches([Sample([1], [2] * 20), Sample([1], [3] * 20)], 2)
    with LogitRows() as rows:
        scores = policy(batch, frozenset({"entropy"}))
        (scores["trainer_logprobs"].sum() + scores["entropy"].sum()).backward()
    # The transposed weight of the projection is over the vocabulary too.
    assert rows.seen - {SIZE["hidden_size"]} == {4}


def test_dropout_is_off_in_training():
    torch.manual_seed(0)
    model = gpt2()
    assert model.config.resid_pdrop > 0
    policy = Policy(model).train()
    (batch,) = make_micro_batches(SAMPLES, 3)
    assert torch.equal(policy(batch)["trainer_logprobs"], policy(batch)["trainer_logprobs"])
    attention = Policy(llama(attention_dropout=0.5)).train()
    assert torch.equal(attention(batch)["trainer_logprobs"], attention(batch)["trainer_logprobs"])


@pytest.mark.parametrize(
    "model",
    [
        Gemma2ForCausalLM(
            Gemma2Config(vocab_size=VOCABULARY, num_key_value_heads=2, head_dim=8, pad_token_id=0, **SIZE)
        ),
        GraniteForCausalLM(GraniteConfig(vocab_size=VOCABULARY, logits_scaling=4.0, **SIZE)),
    ],
    ids=["cap", "scale"],
)
def test_a_model_that_changes_its_logits_is_refused(model):
    with pytest.raises(ModelError, match="changes its states or logits"):
        Policy(model)


def test_a_saved_model_is_loaded_in_float32(tmp_path):
    llama().to(torch.bfloat16).save_pretrained(tmp_path)
    policy = load_policy(tmp_path, gradient_checkpointing=True).train()
    assert {p.dtype for p in policy.parameters()} == {torch.float32}
    (batch,) = make_micro_batches(SAMPLES, 3)
    assert policy.model.is_activation_checkpointing
    policy(batch)["trainer_logprobs"].sum().backward()


def test_a_model_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ModelError, match=f"model {tmp_path}: there is no config.json"):
        load_policy(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(ModelError, match=f"model {tmp_path}: cannot be loaded"):
        load_policy(tmp_path)


def test_a_teacher_is_compared_over_the_whole_vocabulary_and_is_not_trained():
    torch.manual_seed(5)
    teacher = LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, max_position_embeddings=32, **SIZE))
    policy = Policy(llama(), logits_per_chunk=3 * VOCABULARY, teacher=teacher)
    (batch,) = make_micro_batches(SAMPLES, 3)
    names = frozenset({"teacher_logprobs", "forward_kl", "reverse_kl", "jensen_shannon", "mean_logprobs"})
    seen = policy(batch, names)
    ordered = sorted(SAMPLES, key=lambda s: len(s.prompt_ids) + len(s.completion_ids))
    expected = {name: [] for name in names}
    for sample in ordered:
        ids = torch.tensor([[*sample.prompt_ids, *sample.completion_ids]])
        tables = [
            m(ids).logits[0, len(sample.prompt_ids) - 1 : -1].double().log_softmax(-1) for m in (policy.model, teacher)
        ]
        p, q = tables
        middle = torch.stack(tables).logsumexp(0) - torch.tensor(2.0).double().log()
        expected["forward_kl"].append((q.exp() * (q - p)).sum(-1))
        expected["reverse_kl"].append((p.exp() * (p - q)).sum(-1))
        expected["jensen_shannon"].append(((p.exp() * (p - middle)).sum(-1) + (q.exp() * (q - middle)).sum(-1)) / 2)
        expected["mean_logprobs"].append(p.mean(-1))
        expected["teacher_logprobs"].append(q.gather(-1, torch.tensor(sample.completion_ids)[:, None]).squeeze(-1))
    for name in names:
        assert torch.allclose(seen[name].double(), torch.cat(expected[name]), atol=1e-6, rtol=0), name
    assert not seen["teacher_logprobs"].requires_grad
    sum(seen[name].sum() for name in names).backward()
    assert all(p.grad is None for p in teacher.parameters())
    assert len(list(policy.parameters())) == len(list(policy.model.parameters()))


def test_a_teacher_of_another_vocabulary_is_refused():
    other = LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY + 1, max_position_embeddings=32, **SIZE))
    with pytest.raises(ModelError, match="the teacher's vocabulary has 38 entries and the policy's 37"):
        Policy(llama(), teacher=other)


def test_a_value_head_begins_at_zero_and_reads_the_state_before_each_token():
    policy = Policy(llama(), value_head=True)
    (batch,) = make_micro_batches(SAMPLES, 3)
    assert "values" not in policy(batch)
    values = policy(batch, frozenset({"values"}))["values"]
    assert values.tolist() == [0.0] * 8
    values.sum().backward()
    states = policy.model.base_model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).last_hidden_state
    read = states[batch.known.sequence_index, batch.position - 1].sum(0)
    assert torch.allclose(policy.value_head.weight.grad[0], read, atol=1e-5)
