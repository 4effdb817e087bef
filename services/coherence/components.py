"""What each number of coherence is, and what it is not."""

from __future__ import annotations

from services.verdicts import Component

COMPONENTS = (
    Component(
        "coherence/relevance",
        "0 to 1: likeness of prompt and response in meaning and in shared names, numbers and rare words, less by how far the"
        " response is the prompt again. Does not measure whether the prompt is answered, or rightly.",
    ),
    Component(
        "coherence/flow",
        "0 to 1: mean likeness of each sentence and the one before it, the first with the prompt, less for signs of a wrong"
        " order (a number used before it is worked out, text after the answer, `Then` at the start). Tells an order from a"
        " shuffled one; does not measure whether a step follows. Few sentences"
        " score low: two steps of 0.2 are taken to stand before them.",
    ),
    Component(
        "coherence/fluency",
        "0 to 1: geometric mean of the response's token probabilities under the reference policy where the service was given"
        " one, else an estimate from characters, words and neighbouring words, made for English; the evidence says"
        " which. The two scales differ. Does not measure sense: likely tokens may be dull or wrong.",
    ),
    Component(
        "coherence/repetition",
        "0 to 1: share of word trigrams that stood in the response before. Paraphrases are not found; lists and"
        " code repeat by nature.",
        higher_is_better=False,
    ),
    Component(
        "coherence/engagement",
        "0 to 1: how much of its own a response brings: new words of meaning, variety, and turning to the reader by `you`"
        " or a question at the end. Words of English; does not measure interest, wit or truth, and length raises it.",
    ),
    Component(
        "coherence/consistency",
        "0 to 1, only where checks give `persona` or `history`: mean over sentences of the likeness to the nearest"
        " sentence of these; a sentence that denies one, or gives another number of the same thing, counts 0. Other"
        " contradictions are not found.",
    ),
)
