"""KL estimators by hand; `test_expected_gradients.py` has what they descend."""

import pytest
import torch

from tests.trainer.loss_batches import batch_of, metric, values_and_gradients
from trainer.losses.kl import kl

LOG2 = 0.6931471805599453
TWO_TOKENS = {"ref_logprobs": [-1.0 - LOG2, -1.0 + LOG2]}


def test_direct_forms_by_hand():
    batch = batch_of([-1.0, -1.0], **TWO_TOKENS)
    values, gradients = values_and_gradients(kl, batch, estimator="k2")
    assert values == pytest.approx([LOG2**2 / 2] * 2, abs=1e-12)
    assert gradients == pytest.approx([LOG2, -LOG2], abs=1e-12)
    values, gradients = values_and_gradients(kl, batch, estimator="k3")
    assert values == pytest.approx([0.5 - 1 + LOG2, 2 - 1 - LOG2], abs=1e-12)
    assert gradients == pytest.approx([0.5, -1.0], abs=1e-12)


def test_in_the_score_function_form_a_token_answers_for_the_later_ones():
    k3 = [LOG2 - 0.5, 1 - LOG2]
    batch = batch_of([-1.0, -1.0], **TWO_TOKENS)
    values, gradients = values_and_gradients(kl, batch, estimator="k1", form="score_function")
    assert values == pytest.approx([LOG2, -LOG2], abs=1e-12)
    assert gradients == pytest.approx([1 + LOG2 - LOG2, 1 - LOG2], abs=1e-12)
    values, gradients = values_and_gradients(kl, batch, estimator="k3", form="score_function")
    assert values == pytest.approx(k3, abs=1e-12)
    assert gradients == pytest.approx([LOG2 + k3[1], -LOG2], abs=1e-12)


def test_a_token_answers_for_no_other_sequence():
    apart = batch_of([-1.0, -1.0, -1.0], [1, 0, 2], ref_logprobs=[-1 - LOG2, -1 + LOG2, -1 + LOG2])
    _, gradients = values_and_gradients(kl, apart, estimator="k1", form="score_function")
    assert gradients == pytest.approx([1 + LOG2, 1 - 2 * LOG2, 1 - LOG2], abs=1e-12)


def test_all_estimators_are_told():
    output = kl(batch_of([-1.0, -1.0], **TWO_TOKENS), estimator="k2")
    assert metric(output, "k1") == pytest.approx(0.0)
    assert metric(output, "k2") == pytest.approx(LOG2**2 / 2)
    assert metric(output, "k3") == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        ({"estimator": "k1"}, r"zero on average.*form = 'score_function', or 'k2'.*or 'k3'"),
        ({"estimator": "k2", "form": "score_function"}, r"no score-function form.*form = 'direct'"),
        ({"estimator": "k4"}, "estimator must be 'k1', 'k2' or 'k3', not 'k4'"),
        ({"form": "reinforce"}, "form must be 'direct' or 'score_function', not 'reinforce'"),
    ],
)
def test_what_does_not_descend_a_divergence_is_refused_with_its_remedy(kwargs, said):
    with pytest.raises(ValueError, match=said):
        kl(batch_of([-1.0], ref_logprobs=[-1.0]), **kwargs)


def test_a_long_sequence_sums_as_precisely_as_alone():
    generator = torch.Generator().manual_seed(0)
    rows = -torch.rand(2, 4000, generator=generator)
    alone = batch_of(rows[0, :3].tolist(), [3], dtype=torch.float32, ref_logprobs=rows[1, :3].tolist())
    among = batch_of(rows[0].tolist(), [3, 3997], dtype=torch.float32, ref_logprobs=rows[1].tolist())
    gradients = [values_and_gradients(kl, each, form="score_function")[1][:3] for each in (alone, among)]
    assert gradients[0] == gradients[1]
