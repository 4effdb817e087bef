"""A teacher at the rollout service gives terms what one in the trainer gives them; what it cannot give is refused."""

import json
import tomllib

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.bad_jobs import GOOD
from benchmarks.loss_refusals import make_folder
from services.experience import ScoredCompletion, ScoredGroup
from services.rollout.engine import Completion, FinishReason
from trainer.assembly import make_composite, probe_terms, teacher_at_service, wanted_policy
from trainer.batching import make_micro_batches
from trainer.composite import Composite
from trainer.config import JobFileError, parse_job
from trainer.policy import Policy
from trainer.preflight import check_job
from trainer.steps import make_step
from trainer.term import make_term


def tiny(seed, vocabulary=20):
    torch.manual_seed(seed)
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=vocabulary, max_position_embeddings=32, **size))


def job(type="distill", **model):
    tree = tomllib.loads(GOOD)
    tree["loss"]["terms"].append({"name": "teach", "type": type})
    tree["model"].update(model)
    return parse_job(tree)


def group(teacher_logprobs):
    tokens = ((3, 4, 5), (6, 7, 8))
    completions = [Completion(ids, (-2.9,) * 3, "t", FinishReason.STOP, 0) for ids in tokens]
    scored = [
        ScoredCompletion(each, {"math/x": float(place)}, teacher_logprobs=row)
        for place, (each, row) in enumerate(zip(completions, teacher_logprobs, strict=True))
    ]
    return ScoredGroup("p", "math", (1, 2), tuple(scored))


def loss_and_gradient(policy, teacher_logprobs):
    step = make_step([group(teacher_logprobs)], {"math/x": 1.0}, "group_mean", "drop_sample", 0)
    (batch,) = make_micro_batches(step.samples, 2)
    composite = Composite([make_term("teach", type="distill")])
    packed = batch.pack(policy(batch, composite.needs), 0, 1)
    output = composite.loss(packed, composite.normalisers(batch.counts), 0, 1)
    output.loss.backward()
    return float(output.loss.detach()), torch.cat([p.grad.flatten() for p in policy.model.parameters()])


def test_both_teachers_give_one_loss_and_one_gradient():
    teacher, rows = tiny(2), []
    for ids in ((3, 4, 5), (6, 7, 8)):
        logprobs = teacher(input_ids=torch.tensor([[1, 2, *ids]])).logits[0, 1:-1].log_softmax(-1)
        rows.append(tuple(logprobs.gather(1, torch.tensor(ids)[:, None])[:, 0].tolist()))
    by_trainer = loss_and_gradient(Policy(tiny(1), teacher=teacher), [(), ()])
    by_service = loss_and_gradient(Policy(tiny(1)), rows)
    assert by_service[0] == pytest.approx(by_trainer[0], abs=1e-6)
    assert torch.allclose(by_service[1], by_trainer[1], atol=1e-6) and float(by_service[1].norm()) > 1e-3


@pytest.mark.parametrize(("by", "loaded"), [("trainer", 1), ("service", 0)])
def test_the_trainer_loads_a_teacher_only_where_it_runs_it(tmp_path, by, loaded):
    tiny(1).save_pretrained(tmp_path)
    config = job(teacher=str(tmp_path), teacher_by=by)
    composite = make_composite(config)
    assert len(wanted_policy(config, tmp_path, composite)._teacher) == loaded
    assert teacher_at_service(config, composite) == (not loaded)


def test_the_service_is_not_asked_for_what_no_term_reads():
    config = job("entropy", teacher="somewhere", teacher_by="service")
    assert not teacher_at_service(config, make_composite(config))


@pytest.mark.parametrize("type", ["forward_kl", "reverse_kl", "jensen_shannon"])
def test_whole_distributions_are_not_the_services_to_give(type):
    (problem,) = probe_terms(job(type, teacher="somewhere", teacher_by="service"))
    assert problem.startswith("loss.terms: term 'teach': needs the teacher's whole distributions")
    assert problem.endswith('set [model] teacher_by = "trainer"')
    assert probe_terms(job(type, teacher="somewhere")) == []


def test_a_warm_up_has_no_rollouts_that_bring_a_teacher(tmp_path):
    (tmp_path / "rows.jsonl").write_text(json.dumps({"prompt": "a", "completion": "b"}) + "\n")
    tree = tomllib.loads(GOOD)
    tree["model"].update(teacher="somewhere", teacher_by="service")
    terms = [{"name": "teach", "type": "forward_kl"}]
    tree["warmup"] = {"path": str(tmp_path / "rows.jsonl"), "steps": 2, "terms": terms}
    (problem,) = probe_terms(parse_job(tree))
    assert problem.startswith("warmup.terms: term 'teach': needs a teacher in a warm-up, which has no rollouts")


def test_distill_takes_either_and_a_service_needs_a_teacher_to_run():
    assert probe_terms(job(teacher="somewhere", teacher_by="service")) == []
    with pytest.raises(JobFileError, match="model: teacher_by: the service has nothing to run"):
        job(teacher_by="service")


def test_another_vocabulary_is_told_before_the_run(tmp_path):
    folder = make_folder(tmp_path)
    for name, size in (("model", 20), ("teacher", 21)):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "config.json").write_text(json.dumps({"vocab_size": size}))
        (folder / name / "model.safetensors").touch()
    tree = tomllib.loads(GOOD)
    tree["model"].update(teacher="teacher", teacher_by="service")
    with pytest.raises(JobFileError, match=r"model\.teacher: its vocabulary has 21 entries and the policy's 20"):
        check_job(parse_job(tree, folder))
