"""One rank of the engine's tests: runs real DeepSpeed and prints what it saw as one JSON line.

`python engine_worker.py CASE...` with RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT set, or none of them for one rank.
"""

import json
import math
import random
import sys
import tempfile
import tomllib
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from examples.quickstart.make import write_model
from services.experience import ScoredCompletion, ScoredGroup
from services.rollout.engine import Completion, FinishReason
from services.server.logs import configure_logs
from trainer.attribution import inner_products
from trainer.batching import make_micro_batches
from trainer.checkpoint import CheckpointError, Checkpoints, publish
from trainer.composite import Composite, NotFiniteLossError, NothingToTrainError
from trainer.config import parse_job
from trainer.engine import Engine
from trainer.engine_config import EngineConfig
from trainer.estimation import estimate_advantages
from trainer.exits import StopRequest
from trainer.group import join_group, leave_group
from trainer.learner import Learner
from trainer.losses.aggregation import Aggregation
from trainer.losses.contract import LossOutputs
from trainer.policy import Policy, load_policy
from trainer.progress import Progress
from trainer.run import Run
from trainer.sample import Sample
from trainer.step_plan import StepPlan
from trainer.step_totals import StepTotals
from trainer.term import make_term
from trainer.weight_transfer import Sender, send_weights

MARK = 9.0


def poisoned(inputs, factor: float = 1.0):
    """A user's loss that is infinite for the one sequence whose advantage is MARK."""
    sign = math.inf if bool((inputs.advantages == MARK).any()) else factor
    return LossOutputs(-(sign * inputs.trainer_logprobs * inputs.advantages)[inputs.loss_mask].sum(), {})


def root(inputs):
    """Finite, with an infinite gradient for the sequence whose advantage is MARK."""
    zero = inputs.trainer_logprobs - inputs.trainer_logprobs.detach()
    per_token = zero.sqrt() if bool((inputs.advantages == MARK).any()) else zero
    return LossOutputs(per_token[inputs.loss_mask].sum(), {})


def policy():
    torch.manual_seed(0)
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=40, max_position_embeddings=64, tie_word_embeddings=True, **size)
    # Four tokens a chunk, so that ranks have different numbers of chunks.
    return Policy(LlamaForCausalLM(config), logits_per_chunk=160)


def samples(seed=0, lengths=(3, 7, 1, 9, 4)):
    r = random.Random(seed)

    def sample(n):
        ids = [r.randrange(40) for _ in range(r.randint(1, 6))]
        reference = [-3.7 + r.uniform(-0.5, 0.5) for _ in range(n)]
        inference = [-3.7 + r.uniform(-0.5, 0.5) for _ in range(n)]
        return Sample(ids, [r.randrange(40) for _ in range(n)], inference, reference, r.gauss(0, 1))

    return [sample(n) for n in lengths]


def composite():
    return Composite(
        [
            make_term("policy", type="grpo", aggregation=Aggregation("sequence_mean")),
            make_term("kl", type="kl", weight=0.3),
            make_term("entropy", type="entropy", weight={"schedule": "linear", "start": 0.5, "end": 0.1}),
            make_term("mine", path=f"{__name__}.poisoned", weight=0.2, aggregation=Aggregation("sequence_sum", 8.0)),
        ]
    )


class WatchedEngine(Engine):
    """Keeps the gradients that the optimizer is about to use."""

    def _apply(self):
        from deepspeed.utils import safe_get_full_grad

        self.gradients = {name: safe_get_full_grad(p) for name, p in self.policy.named_parameters()}
        return super()._apply()


def engine(stage, dtype="fp32", kind=Engine, **options):
    # Without the threshold small parameters would not be partitioned at all.
    overrides = {"zero_optimization": {"stage3_param_persistence_threshold": 0}} if stage == 3 else {}
    options = {"overrides": overrides, "gradient_clipping": 0.0, **options}
    return kind(policy(), EngineConfig(zero_stage=stage, dtype=dtype, **options), GROUP)


def step(on, given, number=0, size=2, terms=None):
    own = make_micro_batches(given, size, rank=GROUP.rank, world_size=GROUP.world_size)
    return on.train_step(own, terms or composite(), step=number, total_steps=10, learning_rate=1e-2)


def plain_gradients(number=0):
    """Of the whole step at once on one process, without DeepSpeed, and the loss."""
    model = policy()
    (batch,) = make_micro_batches(samples(), 5)
    terms = composite()
    output = terms.loss(
        batch.pack(model(batch, frozenset({"entropy"})), number, 10), terms.normalisers(batch.counts), number, 10
    )
    output.loss.backward()
    return {name: p.grad for name, p in model.named_parameters()}, float(output.loss.detach())


def norm(tensors):
    return math.sqrt(sum(float(t.double().square().sum()) for t in tensors))


def case_partition(stage, dtype):
    expected, loss = plain_gradients()
    errors = {}
    for size in (1, 2, 5):
        watched = engine(stage, dtype, WatchedEngine)
        watched.scores(make_micro_batches(samples(1), 5)[0])  # leaves no trace in the step
        result = step(watched, samples(), size=size)
        difference = norm([watched.gradients[n] - g for n, g in expected.items()]) / norm(expected.values())
        errors[size] = {
            "gradient": difference,
            "loss": abs(result.metrics["loss/total"] - loss) / abs(loss),
            "norm": abs(result.metrics["optim/gradient_norm"] / norm(expected.values()) - 1),
            "clip_fraction": result.metrics["term/policy/clip_fraction"],
            "tokens": result.metrics["batch/tokens"],
        }
    return errors


def tiny(seed):
    torch.manual_seed(seed)
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=40, max_position_embeddings=64, **size))


def taught_policy():
    policy = Policy(tiny(0), logits_per_chunk=160, value_head=True, teacher=tiny(1))
    with torch.no_grad():
        policy.value_head.weight.copy_(torch.linspace(-1, 1, 16))
    return policy


def compared():
    """Six rollouts of three groups, with rewards; two domains."""
    rewards = (1.0, 0.0, 0.5, 0.25, 0.75, 0.75)
    return [
        replace(sample, group=place // 2, reward=rewards[place], domain="ab"[place % 2])
        for place, sample in enumerate(samples(lengths=(3, 7, 1, 9, 4, 2)))
    ]


def everything(combination):
    """Terms of every scope, with batch statistics, a value head and a teacher."""
    return Composite(
        [
            make_term("policy", type="grpo", aggregation="group_mean"),
            make_term("pairs", type="dpo", weight=0.5),
            make_term("groups", type="group_preference", weight=0.4),
            make_term("kto", type="kto", weight=0.3),
            make_term("values", type="value", weight=0.2),
            make_term("teacher", type="forward_kl", weight=0.3),
            make_term("distil", type="distill", weight=0.1),
            make_term("smooth", type="sft_smoothed", weight=-0.2),
        ],
        combination,
        seed=1,
    )


def estimated(on, size, group, rank, world_size):
    """Micro-batches with advantages and returns of the value head."""
    own = make_micro_batches(compared(), size, rank=rank, world_size=world_size, whole_groups=True)
    return estimate_advantages(on, own, group, gamma=0.9, gae_lambda=0.8, whiten=True)


class Alone:
    """A plain policy, and a group of one, in place of an engine on ranks."""

    def __init__(self, policy):
        self._policy = policy

    @torch.no_grad()
    def scores(self, batch, wanted):
        return self._policy(batch, wanted)

    def gather(self, value):
        return [value]


def plain_everything(combination):
    """Gradients and metrics of the whole step at once on one process, without DeepSpeed."""
    policy = taught_policy()
    (batch,) = estimated(Alone(policy), 6, Alone(policy), 0, 1)
    terms = everything(combination)
    packed = batch.pack(policy(batch, terms.needs), 1, 10)
    plan = StepPlan(terms, terms.normalisers(batch.counts), 1, 10)
    plan = plan.with_statistics(StepTotals.combine([plan.measure([packed]).to_json()]))
    if combination == "pcgrad":
        plan = plan.with_products(StepTotals.combine([plan.survey([packed]).to_json()]))
    part = plan.gradients(packed)
    totals = StepTotals()
    totals.add(part.terms, inner_products(part, packed))
    part.surrogate(packed, list(plan.weights.values())).backward()
    metrics = plan.metrics(StepTotals.combine([totals.to_json()]), batch.domains)
    return {name: p.grad for name, p in policy.named_parameters()}, metrics


def case_everything(stage, combination):
    expected, told = plain_everything(combination)
    errors = {}
    for size in (6, 2, 4):
        config = EngineConfig(zero_stage=stage, gradient_clipping=0.0, parameter_cosines_every=int(stage < 3))
        watched = WatchedEngine(taught_policy(), config, GROUP)
        own = estimated(watched, size, GROUP, GROUP.rank, GROUP.world_size)
        result = watched.train_step(own, everything(combination), step=1, total_steps=10, learning_rate=1e-2)
        difference = [watched.gradients[name] - gradient for name, gradient in expected.items()]
        errors[size] = {
            "gradient": norm(difference) / norm(expected.values()),
            "metrics": max(abs(result.metrics[name] - value) / max(1.0, abs(value)) for name, value in told.items()),
            "parameter_cosines": sum(name.startswith("parameter_cosine/") for name in result.metrics),
            "counted": [result.metrics[f"batch/{name}"] for name in ("groups", "pairs", "sequences")],
        }
    return errors


def weights(on):
    state = on.full_state_dict()
    return state and {name: tensor.clone() for name, tensor in state.items()}


def same(one, other):
    return one is None or all(torch.equal(one[name], other[name]) for name in one)


def case_not_finite(stage, dtype, policy_name, function):
    mixed = samples()
    mixed[2] = Sample(mixed[2].prompt_ids, mixed[2].completion_ids, mixed[2].logprobs, mixed[2].ref_logprobs, MARK)
    terms = Composite([make_term("sound", type="sft"), make_term("mine", path=f"{__name__}.{function}")])
    on = engine(stage, dtype, not_finite=policy_name)
    before = weights(on)
    seen = {}
    try:
        result = step(on, mixed, size=1, terms=terms)
        seen = {"applied": result.applied, "names": result.not_finite, "skipped": result.metrics["optim/skipped"]}
        alone = step(engine(stage, dtype), mixed, size=1, terms=Composite(terms.terms[:1])).metrics
        seen["values"] = result.metrics["term/sound/value"] == alone["term/sound/value"]
        seen["told"] = [name for name in result.metrics if name.endswith("not_finite")]
    except NotFiniteLossError as error:
        seen = {"raised": error.terms}
    seen["untouched"] = same(before, weights(on))
    # What follows is as if the bad step had not been.
    after = step(on, samples(), 1, terms=terms).metrics
    clean = engine(stage, dtype)
    seen["clean_after"] = after == step(clean, samples(), 1, terms=terms).metrics and same(weights(on), weights(clean))
    return seen


def case_clipping(stage, dtype):
    """AdamW's first step is as long as the learning rate, unless the gradient is small beside its epsilon of 1e-8."""
    seen = {}
    for name, limit in (("off", 0.0), ("tight", 1e-9)):
        on = engine(stage, dtype, gradient_clipping=limit)
        before = weights(on)
        result = step(on, samples())
        after = weights(on)
        change = before and max(float((after[n] - before[n]).abs().max()) for n in before)
        seen[name] = {"norm": result.metrics["optim/gradient_norm"], "change": change}
    return seen


def case_resume(stage, dtype):
    run = engine(stage, dtype)
    for number in range(2):
        step(run, samples(number), number)
    with tempfile.TemporaryDirectory() as own:
        folder = Path(GROUP.gather(own)[0]) / "checkpoints"
        checkpoints = Checkpoints(folder, 2, GROUP)
        empty = checkpoints.latest()
        checkpoints.save(run, "step-2", {"step": 2, "note": "é"})
        draw = random.random()
        uninterrupted = [step(run, samples(number), number).metrics for number in range(2, 5)]
        final = weights(run)
        fresh = engine(stage, dtype)
        state = checkpoints.load(fresh, checkpoints.latest())
        resumed = [step(fresh, samples(number), number).metrics for number in range(2, 5)]
        try:
            checkpoints.load(engine(1 if stage == 0 else 0), checkpoints.latest())
            refused = ""
        except CheckpointError as error:
            refused = str(error)
        GROUP.barrier()
        return {
            "none_at_first": empty is None,
            "state": state,
            "same_random": draw == random.random(),
            "same_metrics": uninterrupted == resumed,
            "same_weights": same(final, weights(fresh)),
            "refused": refused,
        }


def case_publish(stage, dtype):
    class Tokenizer:
        def save_pretrained(self, directory):
            (Path(directory) / "tokenizer.json").write_text("{}")

    on = engine(stage, dtype)
    step(on, samples())
    (batch,) = make_micro_batches(samples(), 5)
    scores = on.scores(batch)["trainer_logprobs"]
    with tempfile.TemporaryDirectory() as own:
        folder = Path(GROUP.gather(own)[0]) / "policy-1"
        published = publish(on, Tokenizer(), folder, GROUP)
        again = publish(on, Tokenizer(), folder, GROUP)
        loaded = load_policy(folder)
        difference = float((loaded(batch)["trainer_logprobs"] - scores).abs().max().detach())
        files = sorted(path.name for path in folder.iterdir())
        sent = sent_weights(on, folder)
        mode = oct((folder / "model.safetensors").stat().st_mode & 0o777)
        line = (folder / "model.safetensors.sha256").read_text()
        GROUP.barrier()
    return {
        "difference": difference,
        "files": files,
        "mode": mode,
        "sha256": published.sha256,
        "line": line,
        "same": published == again,
        **sent,
    }


class KeepingGroup:
    """Keeps what NCCL would send."""

    unique_id = bytes(128)

    def __init__(self, *_):
        self.kept = []

    def join(self, stay):
        pass

    def send(self, tensor, stay):
        self.kept.append(tensor.clone())


class EndlessUpdate:
    """A call that has no end before all is sent."""

    def __init__(self, transfer):
        self.transfer = transfer

    def ended(self):
        return False

    def result(self):
        return "served"


def sent_weights(on, folder):
    """What a transfer says and sends beside what the folder holds, which is what vLLM's loader takes."""
    calls = []
    sender = Sender(1, GROUP.device, KeepingGroup) if GROUP.rank == 0 else None

    def update(transfer):
        calls.append(EndlessUpdate(transfer))
        return calls[-1]

    served = send_weights(on, folder, GROUP, sender, update if sender else None)
    if sender is None:
        return {"sent": served is None, "told": not calls, "tied_once": True}
    held = load_file(folder / "model.safetensors")
    infos = calls[0].transfer.tensors
    told = {each.name: (f"torch.{each.dtype}", each.shape) for each in infos}
    return {
        "sent": served == "served"
        and all(torch.equal(held[info.name], tensor) for info, tensor in zip(infos, sender._group.kept, strict=True)),
        "told": told == {name: (str(tensor.dtype), tuple(tensor.shape)) for name, tensor in held.items()},
        "tied_once": len(told) == len(infos) == len(list(on.policy.model.named_parameters())),
    }


def case_group():
    long = "x" * (1000 * GROUP.rank)
    sent = b"\x00\xff" * 1000 if GROUP.rank == 0 else None
    return {
        "gathered": [len(text) for text in GROUP.gather(long)],
        "received": GROUP.broadcast(sent) == b"\x00\xff" * 1000,
        "empty": GROUP.broadcast(b"").decode(),
    }


def aged():
    """Samples of which each token has an age of 0 to 2, and one token in the middle of a turn was given."""
    return [
        replace(
            sample,
            staleness=[(place + token) % 3 for token in range(len(sample.completion_ids))],
            given=[token == 1 for token in range(len(sample.completion_ids))],
        )
        for place, sample in enumerate(samples())
    ]


def case_mismatch(stage):
    """What a step tells by its cut, and what the log-probabilities of one process without DeepSpeed say."""
    (batch,) = make_micro_batches(aged(), 5)
    logs = policy()(batch)["trainer_logprobs"].detach().double() - batch.known.inference_logprobs.double()
    counted = batch.known.loss_mask
    seen = {"logs": logs[counted].tolist(), "staleness": batch.staleness[counted].tolist(), "told": []}
    for size in (2, 5):
        metrics = step(engine(stage), aged(), size=size).metrics
        seen["told"].append({name: value for name, value in metrics.items() if name.startswith("mismatch/")})
    return seen


JOB = """
job.name = "grouped"
model.path = "MODEL"
model.teacher = "MODEL"
model.teacher_by = "service"
data.train = "none.jsonl"
rollout = { prompts_per_step = 3, samples_per_prompt = 2, max_new_tokens = 8, truncated = "mask" }
rewards = { scorers.math = ["math"], weights."math/correctness" = 1.0 }
advantage = { normalise = "group_mean", groups = { by = "semantic", similarity = 0.0, max_size = 6 } }
loss.terms = [{ name = "policy", type = "grpo" }, { name = "teach", type = "distill", weight = 0.1 }]
optim = { steps = 2, learning_rate = 1e-3, micro_batch_size = 2 }
"""


def rollouts(tokenizer):
    """Three prompts with two completions each: of several turns, one cut off, all with what a teacher says of them."""
    r = random.Random(7)

    def scored(place, number):
        ids = tuple(r.randrange(3, 20) for _ in range(4))
        given = (False, True, False, False)
        reason = FinishReason.LENGTH if (place, number) == (2, 1) else FinishReason.STOP
        completion = Completion(ids, (-3.0, 0.0, -3.0, -3.0), "t", reason, 0, (0, 0, 0, 1), given)
        return ScoredCompletion(completion, {"math/correctness": float(place + number)}, teacher_logprobs=(-2.5,) * 4)

    texts = ("1 + 1 = ?", "2 + 2 = ?", "x at least 3")
    prompts = [tuple(tokenizer(text).input_ids) for text in texts]
    return [
        ScoredGroup(f"p{place}", "math", prompt, (scored(place, 0), scored(place, 1)))
        for place, prompt in enumerate(prompts)
    ]


def case_learner():
    configure_logs("trainer")
    with tempfile.TemporaryDirectory() as own:
        folder = Path(GROUP.gather(own)[0])
        if GROUP.rank == 0:
            write_model(folder, 0)
        GROUP.barrier()
        config = parse_job(tomllib.loads(JOB.replace("MODEL", str(folder))))
        torch.set_num_threads(2)
        learner = Learner(Run(config, folder, GROUP, Progress(None, "job", 0), StopRequest()), folder)
        metrics = learner.learn(rollouts(AutoTokenizer.from_pretrained(folder)), 1)
        GROUP.barrier()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    return {"metrics": metrics, "threads": threads}


def case_unequal():
    on = engine(0)
    batches = make_micro_batches(samples(), 5 if GROUP.rank == 0 else 1)
    try:
        on.train_step(batches, composite(), step=0, total_steps=1, learning_rate=1e-3)
    except ValueError as error:
        return str(error)
    return ""


def case_nothing():
    lost = [Sample([1], [2, 3], [math.nan] * 2, [-1.0] * 2, 1.0)]
    try:
        step(engine(0), lost)
    except NothingToTrainError as error:
        return str(error)
    return ""


if __name__ == "__main__":
    sys.modules["engine_worker"] = sys.modules["__main__"]
    __name__ = "engine_worker"
    GROUP = join_group()
    found = {}
    for argument in sys.argv[1:]:
        name, *options = argument.split(":")
        found[argument] = globals()[f"case_{name}"](*(int(o) if o.isdigit() else o for o in options))
    print(json.dumps(found))
    leave_group()
