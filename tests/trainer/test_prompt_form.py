"""From rows to prompts: columns, templates, chat, limits of length; and the tables of the job file that say so."""

import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from tests.trainer.data_jobs import job
from trainer.config import JobFileError
from trainer.data import DataError, Prompt
from trainer.data_sections import SourceSection
from trainer.prompt_form import PromptForm
from trainer.prompt_length import PromptLength
from trainer.template import TemplateError, fill, parse_template

CHAT = "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
ROW = {"question": "1+1=?", "answer": "2", "level": 3, "reward_model": {"truth": "two"}}


@pytest.fixture(scope="module")
def tokenizer():
    """A token for each word and each space; `<s>` before every text."""
    words = ["<s>", "<unk>", "\u2581", "a", "b", "c", "dd"]
    made = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Split(" ", "isolated")
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", unk_token="<unk>", chat_template=CHAT)


def source(**keys):
    keys = {"name": "own", "path": "x.jsonl", "domain": "math", **keys}
    return SourceSection.model_validate(keys)


def prompt(row, tokenizer=None, **keys):
    return PromptForm(["math", "code"], source(**keys), tokenizer).prompt(row, "x, row 5", 5)


def refused(row, tokenizer=None, **keys):
    with pytest.raises(DataError) as refusal:
        prompt(row, tokenizer, **keys)
    assert str(refusal.value).startswith(("x, row 5: ", "source 'own'"))
    return str(refusal.value)


def test_columns_are_mapped_and_a_row_without_an_id_is_named_by_its_place():
    fields = {
        "prompt": "question",
        "checks": {"gold": "reward_model.truth", "tolerance": "level"},
        "difficulty": "level",
    }
    assert prompt(ROW, fields=fields) == Prompt("own/row-5", "math", "1+1=?", {"gold": "two", "tolerance": 3}, 3.0)
    row = {**ROW, "uid": 12, "area": "code", "reward_model.truth": "column"}
    mapped = prompt(row, fields={**fields, "id": "uid", "domain": "area"})
    assert (mapped.id, mapped.domain, mapped.checks["gold"]) == ("own/12", "code", "column")


def test_a_template_is_filled_with_columns_and_braces_are_doubled():
    assert prompt(ROW, template="{{x}} {question} ({level})").text == "{x} 1+1=? (3)"


@pytest.mark.parametrize(
    ("keys", "row", "parts"),
    [
        (
            {"fields": {"prompt": "qestion"}},
            ROW,
            ["field 'prompt' (column 'qestion') is missing", "answer, level, question"],
        ),
        ({"fields": {"prompt": "question", "id": "uid"}}, ROW, ["field 'id' (column 'uid') is missing"]),
        (
            {"fields": {"prompt": "question", "checks": {"gold": "gold"}}},
            ROW,
            ["field 'checks.gold' (column 'gold') is missing"],
        ),
        (
            {"fields": {"prompt": "question", "checks": "answer"}},
            ROW,
            ["'checks' (column 'answer') is str", "must be an object"],
        ),
        (
            {"fields": {"prompt": "question", "difficulty": "hardness"}},
            ROW,
            ["'difficulty' (column 'hardness') is missing"],
        ),
        (
            {"fields": {"prompt": "question", "difficulty": "answer"}},
            ROW,
            ["'difficulty' (column 'answer') is str; it must be a finite number"],
        ),
        ({"fields": {"prompt": "level"}}, ROW, ["'prompt' (column 'level') is int", "a text"]),
        ({"domain": None, "fields": {"prompt": "question"}}, ROW, ["'domain' is missing", "give the source a domain"]),
        ({"domain": "poetry", "fields": {"prompt": "question"}}, ROW, ["'poetry' has no scorers", "['code', 'math']"]),
        ({"domain": None, "fields": {"prompt": "answer", "domain": "question"}}, ROW, ["what field 'domain' (column 'question') holds has no scorers; [rewards.scorers] has"]),
        (
            {"template": "{qestion}"},
            ROW,
            ["template: unknown name 'qestion'; did you mean 'question'?", "known: answer, level"],
        ),
        ({"template": "{reward_model}"}, ROW, ["column 'reward_model' is dict; it must be a text or a finite number"]),
        ({"template": "{level}"}, {"level": float("nan")}, ["column 'level' is float", "finite number"]),
        ({"template": "{level}"}, {1: 2, "a": 3}, ["unknown name 'level'", "1, a"]),
        ({"template": "{question}"}, {**ROW, "id": 10**5000}, ["'id' is int", "a whole number"]),
        ({"template": "{question}"}, {**ROW, "checks": {"a": [10**5000]}}, ["'checks'.a[0] is a whole number that is too large"]),
        ({"template": "{question}"}, {**ROW, "difficulty": 10**5000}, ["'difficulty' is int; it must be a finite number"]),
        ({"template": "{question}"}, {**ROW, "difficulty": np.float32("inf")}, ["'difficulty' is float32; it must be a finite"]),
        ({"template": "{a}"}, {"a": "\ud800"}, ["'prompt' holds a lone surrogate"]),
        ({}, {"prompt": "a", "checks": {"gold": "\ud800"}}, ["'checks'.gold holds a lone surrogate"]),
        ({}, {"prompt": "a", "checks": {"gold": {1, 2}}}, ["'checks'.gold is set, which JSON has not"]),
        ({}, {"prompt": "a", "checks": {1: 2}}, ["'checks' has a key that is no text"]),
        (
            {},
            {"prompt": "a", "checks": {"gold": functools.reduce(lambda inner, _: [inner], range(900), 0)}},
            ["'checks' is nested too deeply"],
        ),
        ({}, {"prompt": [{"role": "user", "content": "a"}]}, ["'prompt' is list", 'chat = ""']),
        ({}, {"prompt": "a", "id": "x" * 125}, ["'id' has 129 characters; at most 128"]),
    ],
)
def test_rows_that_do_not_fit_are_refused_by_field_and_without_their_texts(keys, row, parts):
    said = refused({"secret": "do not tell", **row}, **keys)
    assert [part for part in parts if part not in said] == [] and "do not tell" not in said


@pytest.mark.parametrize(
    "text", ["{", "a } b", "{a.b}", "{a[0]}", "{a!r}", "{a:>10}", "{}", "{ }", "{a:{b}}", "{a.__class__.__mro__}"]
)
def test_a_template_takes_names_of_columns_and_nothing_else(text):
    with pytest.raises(TemplateError, match="written twice"):
        parse_template(text)


@given(literal=st.text(), value=st.text(), name=st.text("abc _-", min_size=1).filter(str.strip))
def test_what_a_column_holds_is_never_read_as_a_template(literal, value, name):
    escaped = literal.replace("{", "{{").replace("}", "}}")
    assert fill(parse_template(f"{escaped}{{{name}}}{escaped}"), {name: value}) == literal + value + literal


def test_chat_puts_the_prompt_between_the_system_text_and_the_generation_prompt(tokenizer):
    # The template writes <s>, and so does the tokenizer: it stays with the one who always does.
    assert prompt({"prompt": "a b"}, tokenizer, chat="").text == "<user>a b\n<assistant>"
    assert prompt({"prompt": "a"}, tokenizer, chat="Be {brief}.").text == "<system>Be {brief}.\n<user>a\n<assistant>"
    assert prompt(ROW, tokenizer, chat="", template="Q: {question}").text == "<user>Q: 1+1=?\n<assistant>"
    given = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    assert (
        prompt({"prompt": given}, tokenizer, chat="S").text == "<system>S\n<user>a\n<assistant>b\n<user>c\n<assistant>"
    )
    own = [{"role": "system", "content": "Level {level}"}, {"role": "user", "content": "{question}"}]
    assert prompt(ROW, tokenizer, chat=own).text == "<system>Level 3\n<user>1+1=?\n<assistant>"


def test_a_first_token_that_the_tokenizer_does_not_add_stays(tokenizer):
    plain = Tokenizer(models.WordLevel({"<s>": 0, "<unk>": 1}, unk_token="<unk>"))
    bare = PreTrainedTokenizerFast(tokenizer_object=plain, bos_token="<s>", unk_token="<unk>", chat_template=CHAT)
    assert prompt({"prompt": "a"}, bare, chat="").text == "<s><user>a\n<assistant>"


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([], "'prompt' is list (empty)"),
        ([{"role": "robot", "content": "a"}], "message 1 has no role of system, user, assistant, tool"),
        ([{"role": "user", "content": ""}], "message 1: its content is str (empty)"),
        (["a"], "message 1 has no role"),
        (
            [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
            "the last message is the assistant's",
        ),
        ([{"role": "user", "content": "a"}, {"role": "system", "content": "b"}], "message 2 is the system's"),
    ],
)
def test_messages_that_no_one_can_answer_are_refused(tokenizer, messages, said):
    assert said in refused({"prompt": messages}, tokenizer, chat="S")
    assert said in refused({"prompt": messages}, tokenizer, chat="")


def test_a_system_message_beside_the_system_text_is_refused(tokenizer):
    given = [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}]
    assert "message 1 is the system's, and chat has a system text" in refused({"prompt": given}, tokenizer, chat="S")
    assert prompt({"prompt": given}, tokenizer, chat="").text == "<system>a\n<user>b\n<assistant>"


def test_chat_is_refused_of_a_tokenizer_without_a_template(tokenizer):
    assert "has no chat template: take chat away" in refused({"prompt": "a"}, chat="")
    failing = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer, chat_template="{{ raise_exception('no') }}"
    )
    assert "chat template fails: TemplateError: no" in refused({"prompt": "a"}, failing, chat="")


def pairs(*texts):
    return [(f"x, row {place}", Prompt(str(place), "math", text, {})) for place, text in enumerate(texts, 1)]


def test_prompts_are_counted_with_the_tokens_that_are_added_to_them(tokenizer):
    # <s> a _ b: four tokens; <s> dd: two.
    refusing = PromptLength(tokenizer, 4, "refuse")
    assert [each.text for _, each in refusing.fit(pairs("a b", "dd"))] == ["a b", "dd"] and refusing.count == 0
    with pytest.raises(DataError, match=r"x, row 2: field 'prompt' has 4 tokens; data.max_prompt_tokens is 3"):
        list(PromptLength(tokenizer, 3, "refuse").fit(pairs("a", "a b")))
    dropping = PromptLength(tokenizer, 3, "drop")
    assert [each.text for _, each in dropping.fit(pairs("a b", "dd", "c c"), batch=2)] == ["dd"] and dropping.count == 2
    cutting = PromptLength(tokenizer, 4, "truncate_left")
    assert [each.text for _, each in cutting.fit(pairs("a b dd", "c"))] == ["b dd", "c"] and cutting.count == 1
    with pytest.raises(DataError, match="leaves nothing of the prompt"):
        list(PromptLength(tokenizer, 1, "truncate_left").fit(pairs("a")))


@given(
    words=st.lists(st.sampled_from(["a", "b", "é", "日本", "🙂", " "]), min_size=1, max_size=30),
    most=st.integers(5, 40),
)
def test_a_cut_prompt_is_the_longest_end_that_fits(words, most):
    alphabet = {sign: place for place, sign in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    made = Tokenizer(models.BPE(alphabet, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytewise = PreTrainedTokenizerFast(tokenizer_object=made)
    text = "".join(words)
    ((_, cut),) = PromptLength(bytewise, most, "truncate_left").fit(pairs(text))
    assert text.endswith(cut.text) and len(cut.text.encode()) <= most
    assert cut.text == text or len(text[-len(cut.text) - 1 :].encode()) > most


BAD = [
    ({}, "data: without prompts: give train (a path) or [[data.sources]]"),
    ({"train": "x", "sources": [{"name": "a", "path": "x"}]}, "give either train (a path) or [[data.sources]], and not both"),
    ({"sources": [{"name": "a", "path": "x"}, {"name": "a", "path": "y"}]}, "the name 'a' is used twice"),
    ({"sources": [{"name": "A/b", "path": "x"}]}, "data.sources[0].name: String should match pattern"),
    ({"sources": [{"name": "a"}]}, "data.sources[0]: without rows: give path (a file or folder) or iterator"),
    ({"sources": [{"name": "a", "path": "x", "iterator": "a:b"}]}, "give either path (a file or folder) or iterator"),
    ({"sources": [{"name": "a", "path": "x", "kwargs": {"n": 1}}]}, "kwargs are the arguments of iterator"),
    ({"sources": [{"name": "a", "iterator": "no colon"}]}, "data.sources[0].iterator: String should match pattern"),
    ({"sources": [{"name": "a", "path": "x", "weight": -1.0}]}, "weight: -1 is negative"),
    ({"sources": [{"name": "a", "path": "x", "weight": 0.0}]}, "every weight is 0"),
    (
        {"sources": [{"name": "a", "path": "x", "weight": {"schedule": "liner"}}]},
        "unknown name 'liner'; did you mean 'linear'?",
    ),
    (
        {"sources": [{"name": "a", "path": "x", "weight": {"controller": "threshold"}}]},
        "a controller cannot stand here",
    ),
    (
        {"sources": [{"name": "a", "path": "x", "fields": {"promt": "q"}}]},
        "unknown name 'promt'; did you mean 'prompt'?",
    ),
    ({"sources": [{"name": "a", "path": "x", "template": "{q!r}"}]}, "{q!r} is no name of a column"),
    (
        {"sources": [{"name": "a", "path": "x", "template": "{q}", "fields": {"prompt": "q"}}]},
        "either template or fields.prompt",
    ),
    ({"sources": [{"name": "a", "path": "x", "chat": []}]}, "the last message is what the policy answers"),
    (
        {"sources": [{"name": "a", "path": "x", "template": "{q}", "chat": [{"role": "user", "content": "{q}"}]}]},
        "take template and",
    ),
    (
        {"sources": [{"name": "a", "path": "x", "chat": ""}], "max_prompt_tokens": 5, "overlong": "truncate_left"},
        "has chat",
    ),
    ({"sources": [{"name": "a", "iterator": "m:f"}], "curriculum": {"by": "pass_rate"}}, "cannot be chosen from"),
    ({"train": "x", "overlong": "drop"}, "overlong = 'drop' without max_prompt_tokens"),
    ({"train": "x", "overlong": "cut"}, "data.overlong: Input should be 'refuse', 'drop' or 'truncate_left'"),
    ({"train": "x", "max_prompt_tokens": 0}, "data.max_prompt_tokens"),
    ({"train": "x", "curriculum": {"by": "pass_rate"}}, "data.curriculum needs one for each domain"),
    ({"train": "x", "curriculum": {"by": "luck"}}, "data.curriculum.by: Input should be 'pass_rate'"),
    ({"train": "x", "curriculum": {"by": "pass_rate", "explore": 0.0}}, "data.curriculum.explore"),
    ({"sources": [{"name": "a", "path": "x", "heldout": "y"}]}, "data.heldout needs one for each domain"),
]


@pytest.mark.parametrize(("data", "said"), BAD)
def test_tables_that_contradict_themselves_are_refused_before_anything_is_read(tmp_path, data, said):
    with pytest.raises(JobFileError) as refusal:
        job(tmp_path, data, accuracy={})
    assert said in "\n".join(refusal.value.problems)
