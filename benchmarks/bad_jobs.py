"""A good job file, and bad ones that each differ from it by one mistake.

Among them are the mistakes of the guides that this project follows. One of theirs cannot be made: labels that are not
shifted. `trainer.policy.Policy` scores each completion token by the state before it, and a loss gets log-probabilities,
never logits and labels.
"""

from __future__ import annotations

from dataclasses import dataclass

GOOD = """
[job]
name = "good"
[model]
path = "model"
[data]
train = "train.jsonl"
[rollout]
prompts_per_step = 8
samples_per_prompt = 4
max_new_tokens = 64
[rewards.scorers]
math = ["math", "safety"]
code = ["code"]
[rewards.weights]
"math/correctness" = 1.0
"code/tests" = 1.0
"safety/toxicity" = -0.1
[advantage]
normalise = "group_mean"
[loss]
[[loss.terms]]
name = "policy"
type = "grpo"
[[loss.terms]]
name = "kl"
type = "kl"
weight = 0.02
[optim]
steps = 60
learning_rate = 1e-3
"""

POLICY = 'name = "policy"\ntype = "grpo"'
KL_TERM = '[[loss.terms]]\nname = "kl"\ntype = "kl"\nweight = 0.02\n'
BOUNDS = "start = 0.1, min = 0.01, max = 1.0"


@dataclass(frozen=True, slots=True)
class BadJob:
    """A job file with one mistake."""

    mistake: str
    text: str
    field: str
    """Part of the message: where the mistake is."""
    mend: str
    """Part of the message: what would be right."""


def _job(mistake: str, field: str, mend: str, *changes: tuple[str, str]) -> BadJob:
    """The good file with each first text replaced by its second. Raises ValueError where it does not hold one once."""
    text = GOOD
    for old, new in changes:
        if text.count(old) != 1:
            raise ValueError(f"{mistake}: {old!r} is in the good job {text.count(old)} times")
        text = text.replace(old, new)
    return BadJob(mistake, text, field, mend)


def _source(mistake: str, lines: str, field: str, mend: str) -> BadJob:
    """The good file with a source of its own instead of its file of prompts."""
    return _job(mistake, field, mend, ('train = "train.jsonl"\n', f'[[data.sources]]\nname = "own"\n{lines}\n'))


def _in(table: str, mistake: str, line: str, field: str, mend: str) -> BadJob:
    """A line more in a table of the good file, or another value of a key that it has there."""
    key = line.split(" = ", 1)[0]
    olds = [each for each in GOOD.splitlines() if each.startswith(f"{key} = ")]
    change = (f"{olds[0]}\n", f"{line}\n") if olds and table != "loss" else (f"[{table}]\n", f"[{table}]\n{line}\n")
    return _job(mistake, field, mend, change)


def _policy(mistake: str, lines: str, field: str, mend: str, *changes: tuple[str, str]) -> BadJob:
    """Another policy term."""
    return _job(mistake, field, mend, (POLICY, f'name = "policy"\n{lines}'), *changes)


def _grpo(mistake: str, lines: str, field: str, mend: str) -> BadJob:
    """More said of the policy term."""
    return _policy(mistake, f'type = "grpo"\n{lines}', field, mend)


def _own(function: str, mend: str, lines: str = "", field: str = "loss.terms: term 'policy'") -> BadJob:
    """A function of `benchmarks.bad_losses` in place of the policy term."""
    mistake = f"own loss, {function}{', ' + lines if lines else ''}"
    return _policy(mistake, f'path = "benchmarks.bad_losses.{function}"\n{lines}', field, mend)


def _weight(mistake: str, value: str, field: str, mend: str) -> BadJob:
    """Another weight for the KL term."""
    return _job(mistake, field, mend, ("weight = 0.02", f"weight = {value}"))


# A mistake a line, to be read as a table.
# fmt: off

OWN_LOSSES = (
    _own("compile_cross_entropy", "it is a reward: name it under [rewards]"),
    _own("score_times_length", "it is a reward: name it under [rewards]"),
    _own("sigmoid_of_rewards", "it is a reward: name it under [rewards]", 'scope = "group"'),
    _own("mean_loss", "return the sum over the tokens, not the mean"),
    _own("detached", "without detach, item, round or comparisons"),
    _own("compared", "without detach, item, round or comparisons"),
    _own("unmasked", "apply the mask before the sum"),
    _own("constant_added", "apply the mask before the sum"),
    _own("square_root_at_zero", "look for sqrt or log at 0"),
    _own("bare_tensor", "return LossOutputs(loss=<scalar tensor>"),
    _own("per_token", "it must be a scalar tensor: the sum over the tokens"),
    _own("wants_entropy", "needs = [...]"),
    _own("value_of_advantages", "regress to inputs.returns", 'needs = ["values"]'),
    _own("good_loss", "did you mean 'cap'", "kwargs = { caps = 2.0 }"),
    _own("good_loss", "must be a number", 'kwargs = { cap = "2" }'),
    _own("good_loss", "did you mean 'entropy'", 'needs = ["entrpy"]'),
    _own("good_loss", "'pair' or 'group'", 'scope = "batch"', field="loss.terms[0].scope"),
    _own("good_loss", "it takes", 'aggregation = "pair_mean"'),
    _own("good_losss", "did you mean 'good_loss'", field="loss.terms: path 'benchmarks.bad_losses.good_losss'"),
    _own("not_a_function", "name a function", field="loss.terms: path 'benchmarks.bad_losses.not_a_function'"),
    _policy("own loss, no such module", 'path = "no_such_module.loss"', "loss.terms: path 'no_such_module.loss'", "PYTHONPATH"),
    _policy("own loss, no path", 'path = "loss"', "loss.terms: path 'loss'", "must be package.module.function"),
    _job(
        "own loss, prime-rl's form with a mean",
        "loss.terms: term 'loss'",
        "return the sum over the tokens, not the mean",
        ("[loss]\n", '[loss]\npath = "benchmarks.bad_losses.mean_loss"\n'),
        (f"[[loss.terms]]\n{POLICY}\n{KL_TERM}", ""),
    ),
)

TERMS = (
    _policy("unknown term", 'type = "gpro"', "loss.terms[0]: type: unknown name 'gpro'", "'grpo'"),
    _policy("two sources", 'type = "grpo"\npath = "a.b"', "loss.terms[0]", "either type (a built-in term) or path"),
    _policy("no source", "weight = 1.0", "loss.terms[0]", "give type (a built-in term) or path"),
    _grpo("unknown argument", "kwargs = { clip_eps = 0.2 }", "term 'policy': kwargs: unknown name 'clip_eps'", "eps_low, eps_high"),
    _grpo("argument of another type", 'kwargs = { eps_low = "0.2" }', "kwargs: eps_low", "must be a number or a schedule, not '0.2'"),
    _grpo("argument not a number", "kwargs = { eps_low = nan }", "kwargs: eps_low", "must be a number or a schedule, not nan"),
    _grpo("boolean for a number", "kwargs = { eps_low = true }", "kwargs: eps_low", "must be a number or a schedule, not True"),
    _grpo("negative clip bound", "kwargs = { eps_high = -0.2 }", "eps_high", "must lie between 0 and 1, not -0.2"),
    _grpo("lower clip bound above 1", "kwargs = { eps_low = 1.2 }", "eps_low", "must lie between 0 and 1, not 1.2"),
    _grpo("absolute bound for a relative one", "kwargs = { eps_high = 1.2 }", "eps_high", "to keep the ratio below 1.2 write 0.2"),
    _policy("relative bound for an absolute one", 'type = "cispo"\nkwargs = { ratio_max = 0.2 }', "ratio_max", "must be at least 1, not 0.2"),
    _grpo("correction twice", 'kwargs = { correction = "token_tis" }', "correction 'token_tis'", "needs anchor = 'old'"),
    _policy("negative beta", 'type = "dpo"\nkwargs = { beta = -0.1 }', "beta", "must be greater than 0, not -0.1"),
    _policy("beta that falls to 0", 'type = "dpo"\nkwargs = { beta = { schedule = "linear", start = 0.2, end = 0.0 } }', "beta", "must be greater than 0, not 0.0"),
    _policy("half of all labels wrong", 'type = "cdpo"\nkwargs = { label_smoothing = 0.5 }', "label_smoothing", "below 0.5, not 0.5"),
    _weight("k1 as a loss", '0.02\nkwargs = { estimator = "k1" }', "term 'kl'", "form = 'score_function', or 'k2'"),
    _weight("unknown estimator", '0.02\nkwargs = { estimator = "k4" }', "kwargs: estimator", "one of 'k1', 'k2', 'k3'"),
    _grpo("scope of a built-in", 'scope = "pair"', "term 'policy': needs and scope", "'grpo' declares its own"),
    _grpo("needs of a built-in", 'needs = ["entropy"]', "term 'policy': needs and scope", "'grpo' declares its own"),
    _grpo("non_negative of a built-in", "non_negative = true", "loss.terms[0]: non_negative", "knows it itself"),
    _grpo("unknown aggregation", 'aggregation = "mean"', "loss.terms[0].aggregation", "'token_mean'"),
    _grpo("aggregation of pairs", 'aggregation = "pair_mean"', "aggregation 'pair_mean'", "token_mean, segment_mean"),
    _policy("pairs divided by tokens", 'type = "dpo"\naggregation = "token_mean"', "aggregation 'token_mean'", "it takes pair_mean, sum"),
    _grpo("constant without its sum", "aggregation_constant = 64.0", "aggregation: constant", "belongs to 'sequence_sum'"),
    _grpo("constant of 0", 'aggregation = "sequence_sum"\naggregation_constant = 0.0', "aggregation_constant", "greater than 0"),
    _weight("name used twice", '0.02\n[[loss.terms]]\nname = "kl"\ntype = "entropy"', "loss: terms: the name 'kl'", "used twice"),
)


SINGLE = ("samples_per_prompt = 4", "samples_per_prompt = 1")
ALONE = ('normalise = "group_mean"', 'normalise = "none"')
GAE = ('normalise = "group_mean"', 'estimator = "gae"')

FED = (
    _job("groups of one", "rollout.samples_per_prompt", "take normalise = 'none'", SINGLE),
    _policy("pairs without groups", 'type = "dpo"', "term 'policy': needs pairs", "samples_per_prompt to 2 or more", SINGLE, ALONE),
    _policy("ranks without groups", 'type = "group_preference"', "term 'policy': needs groups", "to 2 or more", SINGLE, ALONE),
    _policy("lengths without groups", 'type = "length"', "term 'policy': needs groups", "to 2 or more", SINGLE, ALONE),
    _policy("no teacher", 'type = "distill"', "term 'policy': needs a teacher", "as [model] teacher"),
    _policy("no teacher to diverge from", 'type = "reverse_kl"', "term 'policy': needs a teacher", "as [model] teacher"),
    _in("model", "teacher that is not there", 'teacher = "no_such"', "model.teacher", "a Hugging Face model"),
    _weight("value without returns", '0.5\n[[loss.terms]]\nname = "value"\ntype = "value"', "term 'value': needs returns", 'estimator = "gae"'),
    _job("returns without a value", "advantage.estimator: 'gae'", 'a term of type = "value"', GAE),
    _grpo("segments without ends", 'aggregation = "segment_mean"', "term 'policy': needs segments", "[loss] segment_ends"),
    _grpo("span of segments without ends", 'kwargs = { span = "segment" }', "term 'policy': needs segments", "[loss] segment_ends"),
    _job("pcgrad of one term", "loss.combination: 'pcgrad'", "use 'sum'", ("[loss]\n", '[loss]\ncombination = "pcgrad"\n'), (KL_TERM, "")),
    _job("parameter cosines under ZeRO 3", "loss.parameter_cosines_every", "deepspeed.zero_stage to 2", ("[loss]\n", "[deepspeed]\nzero_stage = 3\n[loss]\nparameter_cosines_every = 5\n")),
)

WEIGHTS = (
    _in("loss", "a list of weights beside the terms", "weights = [1.0, 0.5]", "loss.weights", "each [[loss.terms]] has a weight of its own"),
    _in("loss", "a list of losses", 'losses = ["grpo", "kl"]', "loss.losses", "add a [[loss.terms]] table for each"),
    _weight("a list for a weight", "[0.02, 0.01]", "loss.terms[1].weight", "a finite number or a table"),
    _job("all weights 0", "loss.terms", "every weight is 0 at every step", ("weight = 0.02", "weight = 0.0"), (POLICY, f"{POLICY}\nweight = 0.0")),
    _weight("a text for a weight", '"0.02"', "loss.terms[1].weight", "a finite number or a table"),
    _weight("a boolean for a weight", "true", "loss.terms[1].weight", "a finite number or a table"),
    _weight("a weight that is not a number", "nan", "loss.terms[1].weight", "a finite number"),
    _weight("an infinite weight", "inf", "loss.terms[1].weight", "a finite number"),
    _weight("a table without a kind", "{ start = 0.0, end = 0.1 }", "loss.terms[1].weight", "the key 'schedule'"),
    _weight("unknown schedule", '{ schedule = "liner", start = 0.0, end = 0.1 }', "loss.terms[1].weight", "did you mean 'linear'"),
    _weight("schedule with an unknown key", '{ schedule = "linear", start = 0.0, stop = 0.1 }', "linear: unknown name 'stop'", "known: start, end, steps"),
    _weight("schedule without an end", '{ schedule = "linear", start = 0.0 }', "linear: 'end' is missing", "it takes start, end"),
    _weight("exponential to 0", '{ schedule = "exponential", start = 0.1, end = 0.0 }', "exponential: start 0.1 and end 0.0", "take 'linear' or 'cosine'"),
    _weight("phases that end too soon", '{ schedule = "phases", phases = [[0.3, 1.0], [0.7, 0.5]] }', "the last fraction must be 1.0", "not 0.7"),
    _weight("phases out of order", '{ schedule = "phases", phases = [[0.7, 1.0], [0.3, 0.5], [1.0, 0.1]] }', "phases", "and grow"),
    _weight("no step left to decay", '{ schedule = "warmup_hold_decay", peak = 0.1, warmup_steps = 30, hold_steps = 40 }', "terms.kl.weight", "make them smaller"),
    _weight("schedule of one's own that is not there", '{ schedule = "benchmarks.bad_losses.late" }', "terms.kl.weight", "unknown name 'late'"),
    _weight("unknown controller", '{ controller = "target_ki", ' + BOUNDS + " }", "controller: unknown name 'target_ki'", "did you mean 'target_kl'"),
    _weight("unbounded multiplication", '{ controller = "threshold", start = 0.1, high = 0.5, metric = "term/kl/k1" }', "threshold: 'min' is missing", "it takes start, min, max"),
    _weight("an infinite bound", '{ controller = "threshold", start = 0.1, min = 0.01, max = inf, high = 0.5, metric = "term/kl/k1" }', "threshold: max", "a finite number, not inf"),
    _weight("start out of bounds", '{ controller = "running_scale", start = 2.0, min = 0.01, max = 1.0 }', "start 2.0", "between min 0.01 and max 1.0"),
    _weight("a controller without its target", '{ controller = "target_kl", metric = "term/kl/k1", ' + BOUNDS + " }", "'target' is missing", "it takes start, min, max, target"),
    _weight("a metric of no term", '{ controller = "target_kl", target = 0.1, metric = "term/kk/k1", ' + BOUNDS + " }", "terms.kl.weight: metric 'term/kk/k1'", "known: kl, policy"),
    _weight("a metric that its term does not tell", '{ controller = "target_kl", target = 0.1, metric = "term/kl/kl1", ' + BOUNDS + " }", "terms.kl.weight: metric 'term/kl/kl1'", "did you mean 'k1'"),
    _weight("a metric that no scorer tells", '{ controller = "target_kl", target = 0.1, metric = "reward/math/corectness", ' + BOUNDS + " }", "terms.kl.weight: metric 'reward/math/corectness'", "did you mean 'math/correctness'"),
    _weight("a metric that no step tells", '{ controller = "target_kl", target = 0.1, metric = "rollout/lenght", ' + BOUNDS + " }", "terms.kl.weight: metric 'rollout/lenght'", "did you mean 'length'"),
    _weight("uncertainty of what can be negative", '{ controller = "uncertainty", ' + BOUNDS + " }", "terms.kl.weight: uncertainty", "take 'running_scale'"),
    _weight("gradnorm of one term", '{ controller = "gradnorm", ' + BOUNDS + " }", "terms.kl.weight: gradnorm", "give it to two terms or more"),
    _grpo("a balance of terms for a bound", 'kwargs = { eps_low = { controller = "running_scale", ' + BOUNDS + " } }", "terms.policy.kwargs.eps_low", "only be the weight of a term"),
    _in("optim", "a controller for the learning rate", 'learning_rate = { controller = "threshold", high = 1.0, metric = "reward/total", ' + BOUNDS + " }", "optim.learning_rate", "learning_rate_factor"),
    _in("optim", "a learning rate of 0", "learning_rate = 0.0", "optim.learning_rate", "nothing would be trained"),
    _in("data", "no prompt that is easy enough", 'max_difficulty = { schedule = "linear", start = 0.05, end = 1.0 }', "data.max_difficulty", "the easiest prompt has a difficulty of 0.1"),
    _in("optim", "a negative learning rate", "learning_rate = -1e-3", "optim.learning_rate", "0 or more"),
)

REWARDS = (
    _job("unknown component", "rewards.weights: unknown name 'math/corectness'", "did you mean 'math/correctness'", ("math/correctness", "math/corectness")),
    _job("component of no scorer", "rewards: weights: 'coherence/flow'", "scorers here: code, math, safety", ("safety/toxicity", "coherence/flow")),
    _job("what is better lower is rewarded", "rewards.weights: 'safety/toxicity'", "negative or 0, not 0.1", ("= -0.1", "= 0.1")),
    _job("a reward's schedule without a step left to decay", "rewards.math/correctness: warmup_hold_decay", "make them smaller", ('correctness" = 1.0', 'correctness" = { schedule = "warmup_hold_decay", peak = 1.0, warmup_steps = 60, hold_steps = 0 }')),
    _job("all reward weights 0", "rewards.weights: nothing that counts in domain 'code'", '"code/..." = 1.0', ('"code/tests" = 1.0', '"code/tests" = 0.0')),
    _job("a domain without a weight", "rewards.weights: nothing that counts in domain 'code'", '"code/..." = 1.0', ('"code/tests" = 1.0\n', "")),
    _job("weights of an unknown domain", "domain_weights", "did you mean 'math'", ("[advantage]\n", '[rewards.domain_weights.maths]\n"math/correctness" = 0.5\n[advantage]\n')),
    _job("weights of another domain's scorer", "domain_weights.code: 'math/correctness'", "no scorer of that domain: code", ("[advantage]\n", '[rewards.domain_weights.code]\n"math/correctness" = 0.5\n[advantage]\n')),
    _job("a scorer of one's own that judges nothing", "custom", "[rewards.scorers]", ("[advantage]\n", '[rewards.custom]\nbrevity = "examples.scorers.brevity:Brevity"\n[advantage]\n')),
    _job("a scorer of one's own that is not there", "rewards.custom.brevity", "did you mean 'Brevity'", ('code = ["code"]', 'code = ["code", "brevity"]'), ("[advantage]\n", '[rewards.custom]\nbrevity = "examples.scorers.brevity:Brevty"\n[advantage]\n')),
    _job("a scorer of one's own with a taken name", "custom: 'code'", "none of math, code", ("[advantage]\n", '[rewards.custom]\ncode = "examples.scorers.brevity:Brevity"\n[advantage]\n')),
    _job("a misspelt scorer", "rewards.scorers: no scorer is called 'coherense'", "did you mean 'coherence'", ('"safety"]', '"safety", "coherense"]')),
    _in("advantage", "unknown normalisation", 'normalise = "grup_mean"', "advantage.normalise", "'group_mean'"),
    _in("advantage", "a gate with a weight", 'combine = "gated"\ngates = ["math/correctness"]', "advantage.gates: 'math/correctness'", "take its weight away"),
    _in("advantage", "gates without their combination", 'gates = ["math/format"]', "gates", "combine = 'gated'"),
    _job("an unknown gate", "advantage.gates: unknown name 'math/formt'", "did you mean 'math/format'", ("[advantage]\n", '[advantage]\ncombine = "gated"\ngates = ["math/formt"]\n'), ('"safety/toxicity" = -0.1\n', "")),
    _in("advantage", "a penalty behind a gate", 'combine = "gated"\ngates = ["math/format"]', "rewards.weights: 'safety/toxicity'", "take 'normalise_first'"),
    _in("advantage", "an order that misses a component", 'combine = "lexicographic"\norder = ["math/correctness"]', "advantage.order", "math/correctness, code/tests, safety/toxicity"),
    _in("advantage", "a mean that can be negative", 'normalise = "max_rl"', "rewards.weights: 'safety/toxicity'", "take 'group_mean'"),
)

SECTIONS = (
    *(
        _in(table, f"unknown key of {table}", "sed = 1", f"{table}.sed: unknown name 'sed'", "known: ")
        for table in ("job", "model", "data", "rollout", "advantage", "loss", "optim")
    ),
    _grpo("unknown key of a term", "wieght = 1.0", "loss.terms[0].wieght", "did you mean 'weight'"),
    _job("unknown key of the rewards", "rewards.sed", "known: ", ("[rewards.scorers]\n", "[rewards]\nsed = 1\n[rewards.scorers]\n")),
    _job("unknown key of the warm-up", "warmup.sed", "known: path, steps", ("[loss]\n", '[warmup]\npath = "w.jsonl"\nsteps = 1\nsed = 1\n[loss]\n')),
    _job("unknown key of DeepSpeed", "deepspeed.sed", "known: zero_stage", ("[loss]\n", "[deepspeed]\nsed = 1\n[loss]\n")),
    _job("unknown key of the evaluation", "evaluation.sed", "known: accuracy", ("[loss]\n", "[evaluation]\nsed = 1\n[loss]\n")),
    _job("unknown key of the checkpoints", "checkpoint.sed", "known: every_steps", ("[loss]\n", "[checkpoint]\nsed = 1\n[loss]\n")),
    _job("unknown table", "los", "did you mean 'loss'", ("[loss]\n", "[los]\nsteps = 1\n[loss]\n")),
    _job("no table of the optimizer", "optim: is missing", "add [optim]", ("[optim]\nsteps = 60\nlearning_rate = 1e-3\n", "")),
    _job("no term", "loss: no terms", "add [[loss.terms]] tables", (f"[[loss.terms]]\n{POLICY}\n{KL_TERM}", "")),
    _in("loss", "terms and prime-rl's form", 'path = "a.b"', "loss: give either terms or path", "and not both"),
    _in("optim", "a text for a number", 'steps = "60"', "optim.steps", "valid integer (got '60')"),
    _in("optim", "more steps than can be", f"steps = {10**26}", "optim.steps", "less than or equal to 1000000000"),
    _job("a stage that is no number", "deepspeed.zero_stage", "must be 0, 1, 2 or 3", ("[loss]\n", "[deepspeed]\nzero_stage = true\n[loss]\n")),
    _in("optim", "a beta that forgets nothing", "betas = [0.9, 1.0]", "optim.betas[1]", "less than 1"),
    _in("rollout", "no sample", "samples_per_prompt = 0", "rollout.samples_per_prompt", "greater than or equal to 1"),
    _in("rollout", "no temperature", "temperature = nan", "rollout.temperature", "finite number"),
    _in("job", "a negative seed", "seed = -1", "job.seed", "greater than or equal to 0"),
    _job("a key of DeepSpeed's that is the trainer's", "deepspeed.config", "set micro_batch_size", ("[loss]\n", "[deepspeed.config]\ntrain_micro_batch_size_per_gpu = 4\n[loss]\n")),
    _job("a table of DeepSpeed's that is none", "deepspeed.config", "set zero_stage", ("[loss]\n", "[deepspeed.config]\nzero_optimization = true\n[loss]\n")),
    _in("model", "no model", 'path = "no_such"', "model.path", "a Hugging Face model"),
    _in("data", "no data", 'train = "no_such.jsonl"', "data.train", "no_such.jsonl"),
    _source("a source of nothing", "", "data.sources[0]", "give path (a file or folder) or iterator"),
    _source("a column that no row has", 'path = "train.jsonl"\ntemplate = "{promt}"', "data.sources", "did you mean 'prompt'"),
    _source("a template that reaches into an object", 'path = "train.jsonl"\ntemplate = "{prompt.text}"', "data.sources[0].template", "only {column} may stand there"),
    _source("a field that no prompt has", 'path = "train.jsonl"\nfields = { promt = "prompt" }', "data.sources[0].fields.promt", "did you mean 'prompt'"),
    _source("chat without a chat template", 'path = "train.jsonl"\nchat = ""', "data.sources", "save the tokenizer with one"),
    _source("a weight that falls below 0", 'path = "train.jsonl"\nweight = { schedule = "linear", start = 1.0, end = -1.0 }', "data.sources", "a weight is 0 or more"),
    _source("an iterator that is not there", 'iterator = "no_such.module:rows"', "data.sources", "must be on PYTHONPATH"),
    _source("a curriculum that cannot choose", 'iterator = "no_such.module:rows"\n[data.curriculum]\nby = "pass_rate"', "data: curriculum", "give it a path"),
    _in("data", "two kinds of data", 'sources = [{ name = "own", path = "train.jsonl" }]', "data", "give either train (a path) or [[data.sources]]"),
    _job("a pass rate beyond 1", "data.curriculum.target", "a pass rate is 0 to 1", ("[loss]\n", '[data.curriculum]\nby = "pass_rate"\ntarget = 50.0\n[evaluation.accuracy]\nmath = "math/correctness"\ncode = "code/tests"\n[loss]\n')),
    _in("data", "what becomes of long prompts, and no limit", 'overlong = "drop"', "data", "say how long a prompt may be"),
    _in("data", "held-out prompts without a measure", 'heldout = "train.jsonl"', "evaluation.accuracy", "data.heldout needs one for each domain"),
)

BAD_JOBS = (*OWN_LOSSES, *TERMS, *FED, *WEIGHTS, *REWARDS, *SECTIONS)
