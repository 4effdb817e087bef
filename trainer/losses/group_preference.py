"""A preference term over whole groups: every two samples of a prompt whose rewards differ are compared.

It is what "GRPO with `-log sigmoid(beta (r_w - r_l))`" means where r is the implicit reward. With r the scorers' reward
the same formula has no gradient at all.
"""

from __future__ import annotations

from collections.abc import Mapping

from trainer.losses.contract import TermOutput, means
from trainer.losses.packed import PackedBatch
from trainer.losses.pairs import log_ratio_sums
from trainer.losses.ratio import check_positive
from trainer.losses.term import BuiltInTerm
from trainer.normalisation import RELATIVE_FLOOR


def group_preference(batch: PackedBatch, *, beta: float = 0.1) -> TermOutput:
    """The mean over ordered pairs (i, j) of a group, `reward(i) > reward(j)`, of `-log sigmoid(beta (d(i) - d(j)))`.

    `d(y) = log pi(y) - log ref(y)`, summed over the tokens that count; a token counts at most 20 nats. This is DPO
    (Rafailov et al. 2023, equation 7) over the pairs of a ranking. A value belongs to a group; a group without two
    different rewards is 0 and has no gradient, but still counts as a group in the mean. Sequences without a token that
    counts are not compared. beta > 0. Memory grows with the square of the sequences of a micro-batch.

    Raises ValueError for beta, and MissingInputError.
    """
    from torch.nn.functional import logsigmoid

    check_positive(beta=beta)
    rewards, groups = batch.require("rewards").double(), batch.require("group_index")
    group_count = len(batch.require("group_tokens"))
    ratios = log_ratio_sums(batch)
    present = batch.token_counts() > 0
    size = rewards.abs()[:, None].maximum(rewards.abs())
    above = rewards[:, None] - rewards > RELATIVE_FLOOR * size
    ordered = (groups[:, None] == groups) & above & present[:, None] & present
    better, worse = ordered.nonzero(as_tuple=True)
    gaps = beta * (ratios[better] - ratios[worse])
    owners = groups[better]
    sums = gaps.new_zeros(group_count).index_add(0, owners, -logsigmoid(gaps))
    values = sums / owners.bincount(minlength=group_count).clamp(min=1)
    return TermOutput(values, per="group", metrics=means(accuracy=(gaps > 0).double(), reward_gap=gaps))


TERMS: Mapping[str, BuiltInTerm] = {
    "group_preference": BuiltInTerm(
        group_preference,
        frozenset({"rewards", "group_index", "group_tokens", "ref_logprobs"}),
        "group",
        non_negative=True,
    )
}
