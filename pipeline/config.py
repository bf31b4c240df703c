"""One TOML file, one pydantic model tree: everything a corpus is a function of, besides its inputs."""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from pipeline.clean import flagged, language, normalise, quality
from pipeline.clean.decontaminate import NGRAM
from pipeline.clean.lines import LineRule
from pipeline.clean.rules import FUNCTION, Rule
from pipeline.clean.stats import DEFINITIONS
from pipeline.dedup.minhash import PRESETS, MinHashParams
from pipeline.errors import UsageError
from pipeline.parse import html_options
from pipeline.parse.warc_urls import UrlFilter, UrlRules
from pipeline.parse.wikitext_options import Options as Rendering
from pipeline.section import Section
from pipeline.sources.settings import Fetch
from pipeline.storage import is_url
from train.config import TrainConfig

if TYPE_CHECKING:
    from pipeline.parse import warc

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_ANY = "NAME"  # of a table whose keys are the user's, as "run"
_AS_TOML = "give the value as TOML has it: 3, true, 'text', ['a', 'b']"
_THERE = "corpusmill config show FILE prints the keys and lists that there are"
_UNITS = {
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "B": 1,
}


def parse_bytes(value: Any) -> Any:
    """``"64 MB"`` -> 64000000; whole numbers pass through."""
    if isinstance(value, str):
        for unit in sorted(_UNITS, key=len, reverse=True):
            if value.strip().endswith(unit):
                number = value.strip()[: -len(unit)].strip()
                try:
                    return int(float(number) * _UNITS[unit])
                except (ValueError, OverflowError):
                    break
        raise ValueError(f"{value!r} is not a size such as '64 MB' or 500000")
    return value


Bytes = Annotated[int, BeforeValidator(parse_bytes), Field(gt=0, lt=2**63)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._]*(-[A-Za-z0-9._]+)*$")]  # "--" parts names of units


class Wikitext(Section):
    """[source.wikitext]: what of a page's wikitext becomes text (format wikimedia)."""

    tables: bool = Field(False, description="keep tables, a line each row, its cells parted by ' | '")
    math: bool = Field(True, description="keep formulas, as LaTeX between dollar signs")
    drop_sections: bool = Field(
        False, description="leave out sections of references, links and reading lists, by the language's usual headings"
    )
    sections: list[str] = Field([], description="headings of more sections to leave out")
    variant: str = Field(
        "", description="side of -{...}- to take in wikis of several scripts, such as zh-hans; empty: the first"
    )
    templates: dict[str, str] = Field(
        {},
        description="what templates become, before the built-in tables (rules: pipeline/parse/wikitext_templates.py)",
    )

    @model_validator(mode="after")
    def _valid(self) -> Wikitext:
        if not self.templates:
            return self
        from pipeline.parse.wikitext import render  # which only this needs here

        try:
            render("", options=self.options())
        except UsageError as error:
            raise ValueError(error.cause) from error
        return self

    def options(self) -> Rendering:
        """The options as the parser takes them."""
        values = self.model_dump()
        return Rendering(
            **{**values, "sections": tuple(self.sections), "templates": tuple(sorted(self.templates.items()))}
        )


class Web(Section):
    """[source.web]: which pages of an archive become documents, and what of them (format warc)."""

    extractor: html_options.Extractor = Field(
        "mill", description="main text: mill (ours), resiliparse, trafilatura (an extra), or plain (all text)"
    )
    tables: bool = Field(True, description="keep tables, a line each row, its cells parted by ' | '")
    comments: bool = Field(False, description="keep what readers wrote below a page")
    captions: bool = Field(False, description="keep the captions of figures (mill)")
    schemes: list[str] = Field(["http", "https"], description="schemes of URLs to keep; empty: all")
    blocklists: list[str] = Field(
        [],
        description="files of hosts (example.org, =exact.example.org, .suffix), or folders in UT1's form",
    )
    block_addresses: bool = Field(False, description="drop URLs whose host is an IP address")
    banned_words: list[str] = Field([], description="drop URLs that have one of these words")
    patterns: list[str] = Field([], description="drop URLs that match one of these regular expressions (RE2 syntax)")
    obey_robots: bool = Field(
        False, description="drop pages whose robots meta tags say noindex, noai or none, or reserve text mining"
    )
    clean_wet: bool = Field(True, description="drop the boilerplate lines of WET records")
    keep_truncated: bool = Field(False, description="keep pages that the crawler cut (WARC-Truncated)")
    verify_digests: bool = Field(False, description="check block and payload digests, where a record has them")
    max_record: Bytes = Field(32 << 20, description="largest record")
    max_payload: Bytes = Field(16 << 20, description="largest page, decoded")
    timeout: float = Field(30.0, ge=0.01, le=86_400, description="seconds of processor time a page may take")
    memory: Bytes = Field(
        4096 << 20, ge=256_000_000, le=1 << 50, description="address space that reading a page may take"
    )

    @model_validator(mode="after")
    def _valid(self) -> Web:
        try:
            UrlFilter(UrlRules(patterns=tuple(self.patterns)))
            self._page()
        except UsageError as error:
            raise ValueError(error.cause) from error
        return self

    def _page(self) -> html_options.Options:
        return html_options.Options(self.extractor, self.tables, self.captions, self.comments)

    def options(self) -> warc.Options:
        """The options as the parser takes them."""
        from pipeline.parse import warc

        return warc.Options(
            page=self._page(),
            urls=UrlRules(
                tuple(self.schemes),
                tuple(self.blocklists),
                self.block_addresses,
                tuple(self.banned_words),
                tuple(self.patterns),
            ),
            max_record=self.max_record,
            max_payload=self.max_payload,
            keep_truncated=self.keep_truncated,
            clean_wet=self.clean_wet,
            verify_digests=self.verify_digests,
            obey_robots=self.obey_robots,
            timeout_s=self.timeout,
            memory_mb=self.memory >> 20,
        )


class Source(Section):
    """[[source]]: a set of dump files of one origin."""

    name: Name = Field(description="name of the source; a column of every document")
    format: Literal["wikimedia", "warc"] = Field(
        description="wikimedia: MediaWiki XML (.xml .bz2 .gz .zst); warc: WARC, WET and ARC archives (.gz .zst plain)"
    )
    paths: list[str] = Field(
        min_length=1,
        description="files, globs or URLs; relative ones start at the TOML's folder; what exists as it is written is "
        "itself, whatever signs are in its name",
    )
    licence: str = Field("", description="licence of the texts, for the data card")
    namespaces: list[int] = Field([0], description="wikimedia: page namespaces to keep")
    wikitext: Wikitext = Field(Wikitext(), description="wikimedia: what of a page becomes text")
    web: Web = Field(Web(), description="warc: which pages become documents, and what of them")

    @model_validator(mode="after")
    def _of_its_format(self) -> Source:
        if self.format != "wikimedia" and self.wikitext != Wikitext():
            raise ValueError(f"wikitext is for sources of format wikimedia; {self.name!r} is of format {self.format}")
        if self.format != "warc" and self.web != Web():
            raise ValueError(f"web is for sources of format warc; {self.name!r} is of format {self.format}")
        return self


def _refusals(check: Callable[[Any], Any]) -> BeforeValidator:
    """A check of the cleaning code as a validator: its refusals become messages of the configuration."""

    def validate(value: Any) -> Any:
        try:
            return check(value)
        except UsageError as error:
            raise ValueError(error.cause) from error

    return BeforeValidator(validate)


def _language(value: Any) -> Any:
    return language.check(value) if isinstance(value, str) else value


Language = Annotated[str, _refusals(_language)]
Share = Annotated[float, Field(ge=0, le=1)]


class Normalise(Section):
    """[clean.normalise]: changes of the text before it is judged; each is counted in the ledger."""

    changes: list[Annotated[str, _refusals(normalise.check)]] = Field(
        [*normalise.CHANGES, normalise.NFC],
        description="line_ends: line feeds; controls: control characters go; spaces: one space; line_edges, "
        "blank_lines, text_edges: no white space there; nfc: Unicode's composed form",
    )
    mojibake: bool = Field(False, description="repair text decoded with the wrong character set (ftfy)")

    def names(self) -> tuple[str, ...]:
        """The changes as the cleaning code takes them."""
        return (*([normalise.MOJIBAKE] if self.mojibake else []), *self.changes)


class RuleConfig(Section):
    """[[clean.rules]]: limits on one statistic."""

    statistic: str = Field(
        description="name of the statistic; `corpusmill config schema` lists and explains them; or module:function of "
        "your own, which takes texts and languages (Arrow arrays) and returns a number for each text"
    )
    min: float | None = Field(None, description="smallest value kept")
    max: float | None = Field(None, description="largest value kept")
    reason: str = Field("", description="name of the drop; default: the statistic")
    version: str = Field("", description="version of a module:function; without it its source file's content counts")

    @model_validator(mode="after")
    def _valid(self) -> RuleConfig:
        try:
            self.rule()
        except UsageError as error:
            raise ValueError(error.cause) from error
        if self.version and not FUNCTION.fullmatch(self.statistic):
            raise ValueError(f"only a module:function has a version, {self.statistic!r} is ours")
        return self

    def rule(self) -> Rule:
        """The rule as the cleaning code takes it."""
        return Rule(**self.model_dump(exclude={"version"}))


class LineConfig(Section):
    """[[clean.lines]]: what a line must pass, or it is removed (or takes its document with it)."""

    test: str = Field(
        description="max_word_length (code points between spaces), min_words, ends_with (one of these marks), without "
        "(none of these phrases), max_uppercase_share (of its code points), unlike (none of these RE2 patterns)"
    )
    value: int | float | list[str] = Field(description="a number for max_... and min_..., else a list of texts")
    reason: str = Field(description="name under which removed lines are counted, or of the drop")
    drop: Literal["line", "document"] = Field("line", description="what goes where a line fails")

    @model_validator(mode="after")
    def _valid(self) -> LineConfig:
        try:
            self.rule()
        except UsageError as error:
            raise ValueError(error.cause) from error
        return self

    def rule(self) -> LineRule:
        """The rule as the cleaning code takes it."""
        return LineRule(**self.model_dump())


class Decontaminate(Section):
    """[clean.decontaminate]: text of benchmarks is not trained on."""

    paths: list[str] = Field(
        min_length=1, description="benchmark files, globs or URLs: JSONL, Parquet, or plain text with an item a line"
    )
    ngram: int = Field(NGRAM, ge=1, description="words that a document and an item must share in a row")
    share: Share = Field(0.0, description="largest share of a document's n-grams that items may have; 0: none at all")
    action: Literal["drop", "cut"] = Field("drop", description="drop the document, or cut the shared words out of it")


class Pii(Section):
    """[clean.pii]: personal data becomes keyed, recognisably false values of the same kind."""

    key: str = Field(description="file with the secret that keys the replacements, 16 to 64 bytes")
    kinds: list[Literal["email", "ip", "iban", "card", "phone"]] = Field(
        [], description="what is looked for; empty: all kinds"
    )


class Clean(Section):
    """[clean]: which documents are kept, and what is changed in them. The steps run in the order of these keys."""

    normalise: Normalise | None = Field(None, description="changes of the text before it is judged; absent: none")
    languages: list[Language] = Field([], description="keep only these languages (ISO 639-1 or 639-3); empty: all")
    language_score: Share = Field(0.0, description="smallest probability of the language found")
    language_scores: dict[Language, Share] = Field({}, description="other smallest probabilities, by language")
    confusable: bool = Field(
        False,
        description="a language that the model often confuses with one of `languages` counts as that one",
    )
    preset: Annotated[str, _refusals(lambda name: quality.check(name) if name else name)] = Field(
        "", description=f"a published set of rules, run before your own: {', '.join(quality.names())}"
    )
    lines: list[LineConfig] = Field([], description="line rules in order")
    rules: list[RuleConfig] = Field([], description="quality rules in order; the first that fails names the drop")
    flagged_words: dict[Language, str] = Field(
        {}, description="files of flagged words by language, an entry a line, for the statistic flagged_word_share"
    )
    decontaminate: Decontaminate | None = Field(None, description="benchmarks to keep out; absent: none")
    pii: Pii | None = Field(None, description="replacement of personal data; absent: none")
    statistics: bool = Field(
        False, description="write statistics/: what every rule measured of every document judged, and all statistics"
    )

    @model_validator(mode="after")
    def _flagged(self) -> Clean:
        wanted = [rule.statistic for rule in self.rules if rule.statistic in flagged.DEFINITIONS]
        if wanted and not self.flagged_words:
            raise ValueError(f"the rule on {wanted[0]!r} needs clean.flagged_words")
        return self

    def steps(self) -> tuple[quality.Step, ...]:
        """Preset, line rules and rules as the cleaning code takes them."""
        steps = [*quality.load(self.preset)] if self.preset else []
        if self.lines:
            steps.append(quality.Step(lines=tuple(line.rule() for line in self.lines)))
        if self.rules:
            steps.append(quality.Step(rules=tuple(rule.rule() for rule in self.rules)))
        return quality.joined(steps)


FILES: Any = {"flagged_words": True, "decontaminate": {"paths"}, "pii": {"key"}}
"""The keys of [clean] that say where files lie on this machine: a corpus depends on their content instead."""


class MinHash(Section):
    """[dedup.minhash]: near-duplicate detection; similar pairs meet with probability 1 - (1 - s^rows)^bands."""

    preset: Literal["fineweb", "redpajama", "curator"] | None = Field(
        None,
        description="settings to start from: word 5-grams 14 x 8, 13-grams 9 x 13, character 24-grams 20 x 13",
    )
    threshold: float | None = Field(
        None, gt=0, lt=1, description="similarity to separate at, instead of bands and rows: they are chosen for it"
    )
    permutations: int | None = Field(None, ge=1, le=4096, description="with threshold: bands x rows at most (112)")
    ngram: int = Field(5, ge=1, description="words or characters a shingle")
    unit: Literal["word", "char"] = Field("word", description="what shingles are made of")
    bands: int = Field(14, ge=1, le=4096, description="bands of the signature")
    rows: int = Field(8, ge=1, le=4096, description="rows a band")
    seed: int = Field(1, ge=0, lt=2**32, description="seed of the permutations")
    fold_case: bool = Field(True, description="upper and lower case are equal")
    fold_digits: bool = Field(False, description="digits are equal: pages that differ in numbers alone are copies")

    @model_validator(mode="before")
    @classmethod
    def _resolved(cls, given: Any) -> Any:
        """Presets and thresholds become what they mean, so that equal settings are equal configurations."""
        if not isinstance(given, dict):
            return given
        values = {key: value for key, value in given.items() if value is not None}
        if (preset := PRESETS.get(values.get("preset", ""))) is not None:
            del values["preset"]
            values = {name: getattr(preset, name) for name in ("ngram", "unit", "bands", "rows")} | values
        if isinstance(threshold := values.get("threshold"), float) and 0 < threshold < 1:
            if given.get("bands") is not None or given.get("rows") is not None:
                raise ValueError("threshold chooses bands and rows: leave them out, or leave out threshold")
            most = values.pop("permutations", 112)
            if not isinstance(most, int) or not 1 <= most <= 4096:
                raise ValueError("permutations must be a whole number in 1..4096")
            chosen = MinHashParams.for_threshold(values.pop("threshold"), most)
            values |= {"bands": chosen.bands, "rows": chosen.rows}
        elif "permutations" in values and "threshold" not in values:
            raise ValueError("permutations says how many threshold may use; without it bands x rows are the number")
        return values

    @model_validator(mode="after")
    def _fits(self) -> MinHash:
        if self.bands * self.rows > 4096:
            raise ValueError(f"{self.bands} bands x {self.rows} rows are more than 4096 permutations")
        return self

    def params(self) -> MinHashParams:
        """The parameters as the deduplication code takes them."""
        return MinHashParams(**self.model_dump(exclude={"preset", "threshold", "permutations"}))


class Lines(Section):
    """[dedup.lines]: lines that many documents have, such as menus and notices, are removed."""

    documents: int = Field(0, ge=0, description="remove lines that stand in at least so many kept documents; 0: none")
    min_words: int = Field(4, ge=1, description="lines of fewer words stay: they are repeated by chance")
    unit: Literal["line", "paragraph"] = Field("line", description="paragraph: lines that no empty line separates")
    keep_first: bool = Field(
        False,
        description="the first copy stays, by the order of the [[source]] tables if keeper has source, then of the "
        "dump files and their documents; false: none stays",
    )


class Dedup(Section):
    """[dedup]: which documents count as copies. Each level compares what those before it left: the same record,
    revision, url, exact, near; then lines."""

    revision: bool = Field(False, description="of one wiki page (equal URL) only the newest revision stays")
    url: bool = Field(False, description="equal URLs are duplicates")
    exact: bool = Field(True, description="equal texts after normalisation are duplicates")
    near: bool = Field(True, description="MinHash-LSH neighbours are duplicates")
    verify: float = Field(
        0, ge=0, le=1, description="near duplicates share at least this of their shingles (Jaccard); 0: not checked"
    )
    keeper: list[Literal["source", "oldest", "newest", "longest"]] = Field(
        [],
        description="which copy stays, first criterion first; source: that of the [[source]] named earlier in this "
        "file; at last the smallest id",
    )
    minhash: MinHash = MinHash()
    lines: Lines = Lines()


class Tokenizer(Section):
    """[tokenizer]: the SentencePiece model."""

    model: str = Field(
        "", description="a SentencePiece model of your own instead of training one; a path from the TOML's folder"
    )
    kind: Literal["unigram", "bpe"] = Field("unigram", description="SentencePiece model type")
    vocab_size: int = Field(8000, ge=16, lt=2**31, description="pieces, special ones included")
    sample: Bytes = Field(200_000_000, description="UTF-8 bytes of text to train on, at most")
    temperature: float = Field(
        1.0, ge=1.0, description="languages are sampled by bytes**(1/temperature); 1: as they come"
    )
    weights: dict[Language, Annotated[float, Field(ge=0)]] = Field(
        {}, description="share of a language in the sample, relative to the others at 1; 0 leaves it out"
    )
    character_coverage: float = Field(
        0.9995,
        ge=0.98,
        le=1,
        description="share of the sample's characters that get a piece of their own; SentencePiece takes .98 to 1",
    )
    byte_fallback: bool = Field(True, description="unknown characters become bytes instead of <unk>")
    split_digits: bool = Field(True, description="each digit its own piece")
    normalizer: Literal["identity", "nfkc"] = Field("identity", description="identity keeps every text exactly")
    user_symbols: list[str] = Field([], description="pieces that are never split, such as <|user|>")
    reserved: int = Field(0, ge=0, le=65_536, description="pieces <reserved_0>, ... that no text produces, for later")
    seed: int = Field(0, ge=0, description="seed of the sample")


class Shards(Section):
    """[shards]: tokens in a global random order."""

    tokens: int = Field(50_000_000, gt=0, le=2_000_000_000, description="tokens a shard, about")
    format: Literal["arrow", "parquet"] = Field(
        "arrow", description="arrow: mapped into memory; parquet: smaller, decoded into memory when opened"
    )
    validation: float = Field(0.01, ge=0, lt=1, description="share of documents held out for validation")
    test: float = Field(0.0, ge=0, lt=1, description="share of documents held out for a test")
    epochs: dict[Name, Annotated[float, Field(ge=0, le=1000)]] = Field(
        {}, description="how often a source's documents stand in train; 2.5: all twice, half of them thrice; default 1"
    )
    bos: bool = Field(False, description="begin each document with the tokenizer's bos piece")
    eos: bool = Field(True, description="end each document with the tokenizer's eos piece")
    seed: int = Field(0, ge=0, lt=2**63, description="seed of the shuffle, the split and the mix")

    @model_validator(mode="after")
    def _leaves_something(self) -> Shards:
        if self.validation + self.test >= 1:
            raise ValueError("validation and test leave nothing to train on")
        return self


class Report(Section):
    """[report]: what describes the corpus."""

    croissant: bool = Field(False, description="write croissant.json, the description of MLCommons")


class Config(Section):
    """A corpus: where it lies, what it is made from, and how."""

    name: Name = Field("corpus", description="name of the corpus")
    root: str = Field("corpus", description="folder or URL of the corpus; a relative one starts at the TOML's folder")
    unit: Bytes = Field(64_000_000, description="compressed bytes a work unit, about")
    fetch: Fetch = Fetch()
    source: list[Source] = Field([], description="where documents come from")
    clean: Clean = Clean()
    dedup: Dedup = Dedup()
    tokenizer: Tokenizer = Tokenizer()
    shards: Shards = Shards()
    report: Report = Report()
    run: dict[Name, TrainConfig] = Field({}, description="training runs by name")

    @model_validator(mode="after")
    def _unique_sources(self) -> Config:
        names = [source.name for source in self.source]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two sources are called {name!r}; give each its own name")
        if self.run and not self.shards.validation:
            raise ValueError("shards.validation is 0, and a [run] is judged by it: give it a share, or leave out [run]")
        if self.run and not self.shards.eos:
            raise ValueError("shards.eos is false, and a [run] learns where texts end: set it, or leave out [run]")
        if names and (unknown := sorted(self.shards.epochs.keys() - set(names))):
            raise ValueError(f"shards.epochs: no source is called {unknown[0]!r}; there are {', '.join(names)}")
        return self


def load(path: str, overrides: list[str] | None = None, root: str | None = None) -> Config:
    """Read a TOML file, apply ``key=value`` overrides, resolve relative paths; UsageError on anything wrong."""
    values = _read(path)
    for override in overrides or []:
        _override(values, override)
    config = _validate(values, path)

    def resolve(p: str) -> str:
        return _resolve(path, p)

    def located(source: Source) -> Source:
        web = source.web.model_copy(update={"blocklists": [resolve(p) for p in source.web.blocklists]})
        return source.model_copy(update={"paths": [resolve(p) for p in source.paths], "web": web})

    sources = [located(source) for source in config.source]
    where = os.path.abspath(root) if root and not is_url(root) else resolve(root or config.root)
    clean = _with_paths(config.clean, resolve)
    tokenizer = config.tokenizer
    if tokenizer.model:
        tokenizer = tokenizer.model_copy(update={"model": resolve(tokenizer.model)})
    fetch = config.fetch.model_copy(update={"folder": resolve(config.fetch.folder)})
    update = {"source": sources, "clean": clean, "root": where, "tokenizer": tokenizer, "fetch": fetch}
    return config.model_copy(update=update)


def load_fetch(path: str | None, overrides: list[str] | None = None) -> Fetch:
    """The [fetch] table: the user's own (who you are, which mirrors), a corpus's over it, overrides over both."""
    table: dict[str, Any] = {}
    user = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config", "corpusmill.toml").expanduser()
    for file in [*([str(user)] if user.exists() else []), *([path] if path else [])]:
        own = _read(file).get("fetch", {})
        own = _validate({"fetch": own}, file).fetch.model_dump(exclude_unset=True)
        if "folder" in own:
            own["folder"] = _resolve(file, own["folder"])
        for publisher in ("wikimedia", "commoncrawl"):
            if publisher in own:
                own[publisher] = {**table.get(publisher, {}), **own[publisher]}
        table = {**table, **own}
    if path and "folder" not in table:
        table["folder"] = _resolve(path, Fetch().folder)
    values = {"fetch": table}
    for override in overrides or []:
        _override(values, override)
    fetch = _validate(values, path or "--set").fetch
    return fetch.model_copy(update={"folder": os.path.abspath(os.path.expanduser(fetch.folder))})


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        raise UsageError("no such configuration", file=path, mend="corpusmill config init > corpus.toml") from None
    except (ValueError, RecursionError) as error:  # also an integer of thousands of digits, brackets in brackets
        raise UsageError(
            f"not valid TOML: {error}", file=path, mend="correct it there; corpusmill config init prints a valid one"
        ) from None
    except OSError as error:
        raise UsageError(
            f"cannot read the configuration: {error.strerror}", file=path, mend="name a file that this user can read"
        ) from None


def _validate(values: dict[str, Any], path: str) -> Config:
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        mend = f"corpusmill config schema {_known_part(error)}".rstrip()
        raise UsageError(explain(error), file=path, mend=mend) from None


def _with_paths(clean: Clean, resolve: Callable[[str], str]) -> Clean:
    """[clean] with the paths of the files that it names resolved."""
    update: dict[str, Any] = {"flagged_words": {code: resolve(path) for code, path in clean.flagged_words.items()}}
    if clean.decontaminate:
        paths = [resolve(path) for path in clean.decontaminate.paths]
        update["decontaminate"] = clean.decontaminate.model_copy(update={"paths": paths})
    if clean.pii:
        update["pii"] = clean.pii.model_copy(update={"key": resolve(clean.pii.key)})
    return clean.model_copy(update=update)


def _resolve(path: str, place: str) -> str:
    """A path in a TOML: a relative one starts at the TOML's folder."""
    if is_url(place):
        host = place.partition("://")[2].partition("/")[0]
        if ":" in host.rpartition("@")[0] or ("@" in host and place.startswith(("http:", "https:"))):
            raise UsageError(
                "an address with a user or password in it: it would stand in files and messages",
                file=place.replace(host, host.rpartition("@")[2], 1),
                mend="leave them out and give them in the environment: FSSPEC_FTP_USERNAME and FSSPEC_FTP_PASSWORD, or "
                """FSSPEC_HTTP='{"client_kwargs": {"headers": {"Authorization": "Basic ..."}}}'""",
            )
        return place
    return os.path.normpath(Path(path).resolve().parent / os.path.expanduser(place))


def _override(values: dict[str, Any], override: str) -> None:
    """Set one dotted key: ``shards.seed=3``, ``run.lstm.steps=100``, ``clean.rules.0.min=50``."""
    key, sign, text = override.partition("=")
    if not sign or not key.strip():
        raise UsageError(f"--set takes key=value, not {override!r}", mend="--set shards.seed=3")
    try:
        value = tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        value = text
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--set {key}: {error}", mend=_AS_TOML) from None
    *parents, last = key.strip().split(".")
    place: Any = values
    for step in [*parents, last][:-1]:
        try:
            place = place[int(step)] if isinstance(place, list) else place.setdefault(step, {})
        except (ValueError, IndexError, AttributeError):
            raise UsageError(f"--set {override}: there is no {step!r} to set a value in", mend=_THERE) from None
    try:
        if isinstance(place, list):
            place[int(last)] = value
        else:
            place[last] = value
    except (ValueError, IndexError, TypeError):
        raise UsageError(f"--set {override}: there is no {last!r} to set", mend=_THERE) from None


def explain(error: ValidationError) -> str:
    """One line a problem, in the TOML's terms, with the nearest right key for an unknown one."""
    lines = []
    for problem in error.errors():
        location = _without_kinds(problem["loc"])
        place = ".".join(str(p) for p in location)
        if problem["type"] == "extra_forbidden":
            *parents, name = location
            near = difflib.get_close_matches(str(name), sorted(_keys_at(tuple(parents)) - {str(name)}), 1)
            lines.append(f"unknown key {place!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
        else:
            lines.append(f"{place or 'configuration'}: {problem['msg'].removeprefix('Value error, ')}")
    return "; ".join(lines)


def _known_part(error: ValidationError) -> str:
    """The longest part of the first problem's place that `schema_of` takes, without numbers of entries."""
    whole = Config.model_json_schema()
    node = whole
    known: list[str] = []
    first = error.errors()[0]
    place = _without_kinds(first["loc"])
    for step in map(str, place[:-1] if first["type"] == "extra_forbidden" else place):
        if not re.fullmatch(r"[\w-]+", step) or (below := _below(whole, node, step)) is None:
            break
        node = below
        known.append(step)
    return ".".join(step for step in known if not step.isdecimal())


def _without_kinds(location: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """A location as the TOML has it: pydantic names the kind of a model too, ``run.NAME.model.lstm.layers``."""
    kind = 3 if len(location) > 3 and location[0] == "run" and location[2] == "model" else None
    kinds = ("transformer", "rnn", "lstm", "gru")
    return tuple(step for at, step in enumerate(location) if at != kind or step not in kinds)


def _keys_at(location: tuple[Any, ...]) -> set[str]:
    """The keys that the schema allows at a location of the TOML."""
    whole = Config.model_json_schema()
    node: dict[str, Any] | None = whole
    for step in location:
        node = _below(whole, node, str(step)) if node is not None else None
    return set() if node is None else _keys(whole, node)


def _forms(whole: dict[str, Any], node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What a node of the schema may be: references and alternatives followed, a list standing for its entries too."""
    while "$ref" in node:
        node = whole["$defs"][node["$ref"].rsplit("/", 1)[1]]
    yield node
    for kind in ("anyOf", "allOf", "oneOf"):
        for form in node.get(kind, []):
            yield from _forms(whole, form)
    if "items" in node:
        yield from _forms(whole, node["items"])


def _keys(whole: dict[str, Any], node: dict[str, Any]) -> set[str]:
    """The keys of the tables that a node may be."""
    return {key for form in _forms(whole, node) for key in form.get("properties", {})}


def _below(whole: dict[str, Any], node: dict[str, Any], step: str) -> dict[str, Any] | None:
    """The node at a key of a table, at any name in a table of tables, or at an entry of a list; None for no such."""
    forms = list(_forms(whole, node))
    for form in forms:
        if step in form.get("properties", {}):
            return cast("dict[str, Any]", form["properties"][step])
    for form in forms:
        if step.isdecimal() and "items" in form:
            return cast("dict[str, Any]", form["items"])
        values = form.get("additionalProperties") or next(iter(form.get("patternProperties", {}).values()), None)
        if isinstance(values, dict):
            return values
    return None


def _paths(whole: dict[str, Any], node: dict[str, Any], above: str = "") -> Iterator[str]:
    """All dotted keys below a node; NAME stands for any name."""
    for key in sorted(_keys(whole, node)) or [_ANY]:
        if (below := _below(whole, node, key)) is not None:
            yield above + key
            yield from _paths(whole, below, f"{above}{key}.")


def schema() -> dict[str, Any]:
    """The JSON schema of the TOML, with the statistics that rules may name."""
    value = Config.model_json_schema()
    statistic = value["$defs"]["RuleConfig"]["properties"]["statistic"]
    names = {**DEFINITIONS, **flagged.DEFINITIONS}
    statistic["oneOf"] = [
        *({"const": name, "description": text} for name, text in names.items()),
        {"pattern": f"^{FUNCTION.pattern}$", "description": "a function of your own"},
    ]
    return value


def schema_of(key: str) -> dict[str, Any]:
    """The part of the schema at a dotted key such as ``clean.rules``, with the definitions that it refers to.

    What stands for a name of your own (``run.NAME.optimizer``) may be any. UsageError for an unknown key.
    """
    whole = schema()
    node: dict[str, Any] | None = whole
    for step in key.split("."):
        node = _below(whole, node, step) if node is not None else None
    if node is None:
        paths = list(_paths(whole, whole))
        same = [path for path in paths if path.rsplit(".", 1)[-1] == key.rsplit(".", 1)[-1]]
        near = same or difflib.get_close_matches(key, paths, 3) or sorted(_keys(whole, whole))
        mend = f"corpusmill config schema {near[0]}"
        raise UsageError(f"there is no key {key!r}; near it: {', '.join(near)}", mend=mend)
    needed: dict[str, Any] = {}
    if "$ref" in node:  # what is asked for stands on top, not under a name
        node = {**whole["$defs"][node["$ref"].rsplit("/", 1)[1]], **{k: v for k, v in node.items() if k != "$ref"}}
    _collect(whole, node, needed)
    return {**node, **({"$defs": needed} if needed else {})}


def _collect(whole: dict[str, Any], node: Any, needed: dict[str, Any]) -> None:
    """Add to ``needed`` the definitions that a part of the schema refers to."""
    if isinstance(node, dict) and "$ref" in node:
        name = node["$ref"].rsplit("/", 1)[1]
        if name not in needed:
            needed[name] = whole["$defs"][name]
            _collect(whole, needed[name], needed)
    for value in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        _collect(whole, value, needed)


def starting_point() -> str:
    """A commented TOML to begin with."""
    return (Path(__file__).parent / "starting_point.toml").read_text()
