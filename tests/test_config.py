import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import config
from pipeline.config import Source
from pipeline.errors import UsageError
from pipeline.parse.wikitext import Options
from pipeline.stages.ingest import parse_options
from tests.corpus import write_config
from tests.shared import ROOT

WIKI = '[[source]]\nname = "a"\nformat = "wikimedia"\npaths = ["x"]\n[source.wikitext]\n'


def load_text(tmp_path, text, overrides=()):
    path = tmp_path / "corpus.toml"
    path.write_text(text)
    return config.load(str(path), list(overrides))


def test_the_sample_and_the_starting_point_are_valid(tmp_path):
    assert config.load(str(ROOT / "examples/sample.toml")).run.keys() == {"lstm", "transformer"}
    assert config.load(str(ROOT / "examples/cleaning.toml")).clean.languages == ["en", "it", "ja", "zh"]
    assert load_text(tmp_path, config.starting_point()).source[0].name == "simplewiki"


@pytest.mark.parametrize(
    ("text", "wrong", "right"),
    [
        ("[dedup.minhash]\nband = 3", "dedup.minhash.band", "bands"),
        ("[shard]\ntokens = 3", "shard", "shards"),
        ('[[source]]\nname = "a"\nformat = "warc"\npaths = ["x"]\nnamespace = [0]', "source.0.namespace", "namespaces"),
        (WIKI + "table = true", "source.0.wikitext.table", "tables"),
        ('[[clean.rules]]\nstatistic = "words"\nmim = 3', "clean.rules.0.mim", "min"),
        ("[run.a.optimizer]\nlearning_rte = 1", "run.a.optimizer.learning_rte", None),
        ("[run.a]\nstep = 1", "run.a.step", "steps"),
        ('[[clean.rules]]\nstatistic = "wrods"\nmin = 3', "wrods", "words"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_right_name(tmp_path, text, wrong, right):
    with pytest.raises(UsageError) as caught:
        load_text(tmp_path, text)
    assert wrong in str(caught.value)
    assert right is None or f"did you mean '{right}'" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "[shards]\nvalidation = 1.5",
        'unit = "64 parsecs"',
        'unit = "-1"',
        '[[clean.rules]]\nstatistic = "words"',
        '[[clean.rules]]\nstatistic = "words"\nmin = 3\nversion = "1"',
        '[[clean.lines]]\ntest = "min_words"\nvalue = ["x"]\nreason = "few"',
        '[[clean.lines]]\ntest = "unlike"\nvalue = ["("]\nreason = "pattern"',
        '[clean]\nlanguages = ["xx-none"]',
        '[clean.normalise]\nchanges = ["tabs"]',
        'name = "a b"',
        "not toml",
        "unit = true",
        f"unit = 1{'0' * 40}",
        pytest.param(f"unit = 1{'0' * 5000}", id="digits"),
        pytest.param(f"name = {'[' * 3000}", id="brackets"),
        "[shards]\ntokens = true",
        '[[source]]\nname = "a"\nformat = "wikimedia"\npaths = ["x"]\nnamespaces = [true]',
        '[[clean.rules]]\nstatistic = "words"\nmin = nan',
        '[[clean.rules]]\nstatistic = "words"\nmax = inf',
        '[[clean.rules]]\nstatistic = "words"\nmin = true',
        "[tokenizer.weights]\nen = inf",
        "[tokenizer.weights]\nen = true",
        "[tokenizer]\nvocab_size = 2147483648",
        "[tokenizer]\ncharacter_coverage = 0.95",
        "[dedup.minhash]\nbands = 3000000000",
        "[dedup.minhash]\nbands = 128\nrows = 64",
        "[fetch]\ntimeout = inf",
        "[run.a]\nsteps = true",
        "[run.a]\npreset = 'laptop-lstm'\ndepth = 4",
        WIKI.replace("wikimedia", "warc").replace("wikitext", "web") + "memory = '20 MB'",
        WIKI.replace("wikimedia", "warc").replace("wikitext", "web") + "timeout = inf",
        '[[source]]\nname = "a"\nformat = "warc"\npaths = []',
        2 * '[[source]]\nname = "a"\nformat = "warc"\npaths = ["x"]\n',
        '[run.a.model]\nkind = "lstm"\nheads = 4',
        WIKI + 'templates = { x = "[{1}" }',
        WIKI.replace("wikimedia", "warc") + "tables = true",
    ],
)
def test_wrong_values_are_usage_errors(tmp_path, text):
    with pytest.raises(UsageError):
        load_text(tmp_path, text)


def test_overrides_reach_tables_and_lists(tmp_path):
    found = load_text(
        tmp_path,
        '[[clean.rules]]\nstatistic = "words"\nmin = 3\n[run.a]\nsteps = 3',
        ["clean.rules.0.min=7", "run.a.steps=9", 'name="other"', "root=elsewhere", 'unit="2 MB"'],
    )
    assert (found.clean.rules[0].min, found.run["a"].steps, found.name, found.unit) == (7, 9, "other", 2_000_000)
    assert found.root == str(tmp_path / "elsewhere")


@pytest.mark.parametrize(
    "override",
    [
        pytest.param(f"x=1{'0' * 5000}", id="digits"),
        pytest.param(f"x={'[' * 3000}", id="brackets"),
        "unit=true",
        "nothing",
        "clean.rules.4.min=1",
        "=3",
        "name.deeper=1",
    ],
)
def test_an_override_that_fits_nowhere_is_refused(tmp_path, override):
    with pytest.raises(UsageError):
        load_text(tmp_path, '[[clean.rules]]\nstatistic = "words"\nmin = 3\n', [override, *(["x=1"])])


@given(st.integers(1, 10**6), st.sampled_from([("kB", 10**3), ("MB", 10**6), ("GiB", 2**30), ("B", 1)]))
def test_sizes(n, unit):
    name, scale = unit
    assert config.parse_bytes(f"{n} {name}") == config.parse_bytes(f"{n}{name}") == n * scale
    assert config.parse_bytes(n) == n


def test_paths_start_at_the_file_and_urls_stay(tmp_path):
    text = '[[source]]\nname = "a"\nformat = "warc"\npaths = ["x/*.gz", "/abs/y.gz", "s3://bucket/z.gz"]'
    found = load_text(tmp_path, text)
    assert found.source[0].paths == [str(tmp_path / "x/*.gz"), "/abs/y.gz", "s3://bucket/z.gz"]


def test_every_key_of_the_schema_is_described():
    schema = config.schema()
    told = {"description", "$ref", "allOf", "default", "enum", "oneOf"}
    missing = [
        f"{name}.{key}"
        for name, node in schema["$defs"].items()
        for key, value in node.get("properties", {}).items()
        if not told & value.keys()
    ]
    assert missing == []
    json.dumps(schema)


def test_small_configurations_of_these_tests_load(tmp_path):
    assert [s.name for s in config.load(str(write_config(tmp_path, runs=True))).source] == ["wiki", "web"]


def test_wikitext_options_reach_the_parser(tmp_path):
    text = WIKI + 'tables = true\nmath = false\ndrop_sections = true\nsections = ["Anhang"]\nvariant = "zh-tw"\n'
    source = load_text(tmp_path, text + '[source.wikitext.templates]\n"/x\\\\d/" = "{1}"\nb = "-"\n').source[0]
    options = parse_options(Source.model_validate(source.model_dump())).rendering
    assert options == Options(False, True, True, ("Anhang",), "zh-tw", (("/x\\d/", "{1}"), ("b", "-")))
    assert parse_options(load_text(tmp_path, WIKI).source[0]).rendering == Options()


def test_minhash_presets_and_thresholds_become_bands_and_rows():
    def minhash(**given):
        return config.Config.model_validate({"dedup": {"minhash": given}}).dedup.minhash

    assert minhash(preset="fineweb") == minhash()
    found = minhash(preset="curator", seed=3)
    assert (found.unit, found.ngram, found.bands, found.rows, found.seed) == ("char", 24, 20, 13, 3)
    assert minhash(preset="redpajama", ngram=7) == minhash(ngram=7, bands=9, rows=13)
    found = minhash(threshold=0.8, permutations=256, ngram=3)
    assert found.bands * found.rows <= 256
    curve = dict(found.params().curve())
    assert curve[0.6] < 0.15
    assert curve[0.95] > 0.95
    assert found.ngram == 3
    assert config.Config.model_validate({"dedup": {"minhash": found.model_dump()}}).dedup.minhash == found
    for wrong in ({"threshold": 0.8, "rows": 4}, {"threshold": 1.5}, {"permutations": 64}, {"preset": "other"}):
        with pytest.raises(ValueError, match=r"threshold|permutations|preset"):
            minhash(**wrong)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("shards.validation=0", "shards.validation is 0"),
        ("shards.eos=false", "shards.eos is false"),
        ("run.t.model.heads=3", "run.t.model: d_model 128"),
        ("run.t.model.haeds=4", "unknown key 'run.t.model.haeds'; did you mean 'heads'"),
        ("run.t.model.attention_window=4", "unknown key 'run.t.model.attention_window'"),
    ],
)
def test_a_run_that_cannot_be_is_refused_in_the_terms_of_the_toml(tmp_path, override, words):
    path = tmp_path / "c.toml"
    path.write_text("[run.t]\nsteps = 9\n[run.t.model]\nkind = 'transformer'\n")
    with pytest.raises(UsageError, match=re.escape(words)):
        config.load(str(path), [override])
