"""What the README and docs/ say: every job fragment runs through `assay check`, every name exists and none is left out."""

import re
import tomllib
from pathlib import Path
from typing import get_args

import pyarrow
import pytest
from pyarrow import parquet

from benchmarks.bad_jobs import GOOD
from benchmarks.loss_refusals import make_folder
from examples.quickstart.make import make_tokenizer
from trainer.cli.formula import WIDTH
from trainer.combination import KINDS as COMBINATIONS
from trainer.components import described
from trainer.config import JobConfig, parse_job
from trainer.controller_spec import KINDS as CONTROLLERS
from trainer.job_reference import page
from trainer.losses.aggregation import AggregationKind
from trainer.losses.contract import Scope
from trainer.losses.registry import BUILT_IN_TERMS
from trainer.normalisation import NORMALISATIONS
from trainer.overlong import Truncated
from trainer.preflight import check_components, check_job
from trainer.probe import probe_term
from trainer.schedule_shapes import SHAPES
from trainer.term import make_term

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
LOSSES = (ROOT / "docs" / "losses.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FRAGMENTS = [
    pytest.param(fragment, id=f"{page.name}-{place}")
    for page in PAGES
    for place, fragment in enumerate(re.findall(r"```toml\n(.*?)```", page.read_text(), re.DOTALL))
]


def table(first_column):
    """The names in backticks of the first column of all tables of docs/losses.md with this heading."""
    found = []
    for rows in re.findall(rf"^\| {first_column} \|.*\n\|[-|]+\n((?:\|.*\n)+)", LOSSES, re.MULTILINE):
        found += re.findall(r"^\| `([^`]+)`", rows, re.MULTILINE)
    return found


@pytest.mark.parametrize(
    ("heading", "known"),
    [
        ("type", BUILT_IN_TERMS),
        ("aggregation", get_args(AggregationKind)),
        ("schedule", SHAPES),
        ("controller", CONTROLLERS),
        ("combine", COMBINATIONS),
        ("normalise", NORMALISATIONS),
        ("truncated", get_args(Truncated)),
        ("`scope`", get_args(Scope)),
    ],
)
def test_every_name_is_in_its_table_once_and_no_other(heading, known):
    assert sorted(table(heading)) == sorted(known)


def merged(base, over):
    """`over` within `base`: tables are merged, all else is replaced."""
    both = dict(base)
    for key, value in over.items():
        both[key] = merged(base[key], value) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
    return both


def write_data(folder):
    """The files that docs/data.md names, and a tokenizer for what is made of them."""
    columns = {"question": ["2 + 2 = ?", "3 + 4 = ?"], "answer": ["4", "7"], "info": [{"level": 1}, {"level": 2}]}
    parquet.write_table(pyarrow.table(columns), folder / "questions.parquet")
    tokenizer = make_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    tokenizer.save_pretrained(folder / "model")


@pytest.mark.parametrize("fragment", FRAGMENTS)
def test_a_job_with_the_fragment_passes_the_check(fragment, tmp_path):
    tree = merged(tomllib.loads(GOOD), tomllib.loads(fragment))
    weights = tree["rewards"]["weights"]
    if tree["advantage"].get("combine") == "gated":
        del weights["safety/toxicity"]  # a penalty has no place behind a gate
    folder = make_folder(tmp_path)
    (folder / "pairs.jsonl").write_text('{"prompt": "2 + 2 = ?", "chosen": "4", "rejected": "5"}\n')
    write_data(folder)
    if "sources" in tree["data"]:
        del tree["data"]["train"]
    config = parse_job(tree, folder)
    assert isinstance(config, JobConfig)
    scorers = described(config)
    assert scorers.problems == []
    check_components(config, scorers.components)
    check_job(config)


def test_keys_that_messages_tell_to_set_are_keys_of_the_job_file():
    """Messages of the trainer's own source: `[table] key`, with its value or without."""
    found = {
        (path.name, table, key)
        for path in (ROOT / "trainer").glob("**/*.py")
        for table, key in re.findall(r"\[(\w+)\] ([a-z_]+)(?: = | to |\")", path.read_text())
        if table in JobConfig.model_fields
    }
    assert len(found) >= 8
    keys = set(re.findall(r"^\| `(\w+)` \|", page(), re.MULTILINE))
    assert sorted((name, table, key) for name, table, key in found if key not in keys) == []


def test_the_page_of_the_job_file_is_what_its_types_say():
    assert (ROOT / "docs" / "job.md").read_text() == page()


def test_every_key_of_the_job_file_has_its_meaning():
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in re.findall(r"^\| `.*\|$", page(), re.MULTILINE)]
    assert len(rows) > 60
    assert [row[0] for row in rows if len(row) != 4 or not row[1] or not row[3]] == []
    assert "| `temperature` | number, above 0 | `1.0` |" in page()
    assert "| `weights` | a table: name to moves | required |" in page()


def test_there_are_fragments():
    assert len(FRAGMENTS) >= 10


def test_the_readmes_loss_is_the_examples():
    (snippet,) = re.findall(
        r"```python\n# (examples/losses/\w+\.py)\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL
    )
    path, code = snippet
    written = (ROOT / path).read_text()
    lines = [line for line in code.splitlines() if line.strip()]
    assert len(lines) > 5 and [line for line in lines if line not in written] == []


def test_the_printed_check_fits_80_columns():
    (printed,) = re.findall(r"```\n(loss = .*?)```", LOSSES, re.DOTALL)
    assert max(map(len, printed.splitlines())) <= WIDTH


def test_the_readme_lists_every_term():
    families = README[README.index("| family |") : README.index("**Whatever is a number may move**")]
    assert sorted(set(re.findall(r"`(\w+)`", families)) - {"type"}) == sorted(BUILT_IN_TERMS)


def test_every_module_of_the_trainer_in_the_readmes_tree_is_there():
    tree = README[README.index("trainer/  ") : README.index("docs/  ")]
    named = re.findall(r"(\w+\.py)", tree)
    assert len(named) > 25
    assert [name for name in named if not list((ROOT / "trainer").glob(f"**/{name}"))] == []


def test_the_refusal_that_the_readme_quotes_is_what_is_said():
    (problem,) = probe_term(
        make_term("quality", path="benchmarks.bad_losses.compile_cross_entropy"), components=["code/compiles"]
    )
    (quoted,) = re.findall(r"^error: (loss\.terms: .*?) \.\.\.$", README, re.MULTILINE | re.DOTALL)
    assert f"loss.terms: {problem}".startswith(" ".join(quoted.split()))
