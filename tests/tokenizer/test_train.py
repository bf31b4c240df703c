from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import CorpusmillError, UsageError
from tests.shared import ROOT
from tests.tokenizer.conftest import OPTIONS
from tests.tokenizer.real import sample
from tokenizer import modelfile
from tokenizer.encode import load
from tokenizer.train import ASCII, SPECIAL, STEP, TokenizerOptions, sentences, train

DIGEST = """
import sys
from tests.tokenizer.conftest import OPTIONS
from tests.tokenizer.real import sample
from tokenizer.train import train
print(train(sample(), OPTIONS[sys.argv[1]]).manifest["model_sha256"])
"""


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_same_model_in_another_process(trained, kind):
    done = subprocess.run([sys.executable, "-c", DIGEST, kind], cwd=ROOT, capture_output=True, text=True, check=True)
    assert (
        done.stdout.strip() == hashlib.sha256(trained[kind].model).hexdigest() == trained[kind].manifest["model_sha256"]
    )


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_pieces_ids_and_manifest(trained, kind):
    result = trained[kind]
    model = load(result.model)
    processor = model.processor
    assert model.vocab_size == 2000 == result.vocabulary.count("\n")
    assert model.special_ids == SPECIAL == result.manifest["special_ids"]
    assert processor.decode(processor.encode("a\n\n b")) == "a\n\n b"
    assert processor.encode("x<|user|>y", out_type=str) == ["x", "<|user|>", "y"]
    reserved = processor.piece_to_id("<reserved_1>")
    assert processor.is_control(reserved)
    assert reserved not in processor.encode("<reserved_1> </s>")
    assert processor.encode("</s>") != [SPECIAL["eos"]]
    assert all(len(processor.encode(digit * 4)) == 4 for digit in "0123456789")
    assert not [char for char in ASCII if processor.is_unknown(processor.piece_to_id(char))]
    texts = sample()
    assert result.manifest["sample"]["documents"] == len(texts)
    assert result.manifest["sample"]["bytes"] == sum(len(text.encode()) for text in texts)
    assert result.manifest["options"]["threads"] == OPTIONS[kind].threads


def test_unigram_sums_are_exact(trained):
    pieces = modelfile.read(trained["unigram"].model).pieces
    assert all(piece.score * STEP == int(piece.score * STEP) for piece in pieces)
    # So a line has the same pieces alone and deep inside a document.
    processor = load(trained["unigram"].model).processor
    text = "\n".join(sample())
    newline = processor.piece_to_id("\n")
    by_line: list[int] = []
    for line in text.split("\n"):
        by_line += [*processor.encode(line), newline]
    assert processor.encode(text) == by_line[:-1]


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_too_large_vocabulary_names_the_largest_that_fits(kind):
    texts = sample(300)
    with pytest.raises(CorpusmillError, match=r"tokenizer\.vocab_size = 50000 is too large") as refused:
        train(texts, TokenizerOptions(kind=kind, vocab_size=50_000))
    largest = int(refused.value.mend.split(" = ")[1].split()[0])
    assert load(train(texts, TokenizerOptions(kind=kind, vocab_size=largest)).model).vocab_size == largest
    with pytest.raises(CorpusmillError, match=f"at most {largest} pieces"):
        train(texts, TokenizerOptions(kind=kind, vocab_size=largest + 1))


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_too_small_vocabulary_names_what_is_needed(kind):
    with pytest.raises(CorpusmillError, match=r"tokenizer\.vocab_size = 100 is too small") as refused:
        train(sample(300), TokenizerOptions(kind=kind, vocab_size=100))
    needed = int(refused.value.mend.split(" = ")[1].split()[0])
    assert load(train(sample(300), TokenizerOptions(kind=kind, vocab_size=needed)).model).vocab_size == needed


@pytest.mark.parametrize("texts", [[], ["", "\n\n"]])
def test_no_text_is_refused(texts):
    with pytest.raises(CorpusmillError, match="no text to train a tokenizer on"):
        train(texts)


@pytest.mark.parametrize(("text", "words"), [("a\0b", "document 1 .* NUL at byte 1"), ("\ud800", "lone surrogate")])
def test_what_sentencepiece_cannot_take_is_refused(text, words):
    with pytest.raises(CorpusmillError, match=words):
        train(["fine", text], TokenizerOptions(vocab_size=400))


@pytest.mark.parametrize("error", [CorpusmillError("the part is gone", file="part-7"), OSError("part-7: read error")])
def test_failing_source_of_texts_keeps_its_error(error):
    def texts():
        yield "one"
        raise error

    with pytest.raises(type(error), match="part-7: "):
        train(texts())


def test_text_with_the_mark_of_sentencepiece_is_used():
    # SentencePiece alone leaves out every sentence with U+2585, without an error.
    result = train([*sample(3000), *["qzqzqz \u2585"] * 500], TokenizerOptions(kind="bpe", vocab_size=1500))
    assert load(result.model).processor.encode("qzqzqz", out_type=str) == ["qzqzqz"]


@given(st.text(alphabet="ab \n\u2585\u3042", max_size=300), st.integers(0, 3))
def test_sentences_lose_nothing_but_breaks(text, repeats):
    text = text * 1000 * repeats
    found = list(sentences(text))
    assert "".join(found) == text.replace("\n", "").replace("\u2585", "")
    assert all(0 < len(sentence) <= 16_384 for sentence in found)


def test_text_in_a_single_huge_line_is_all_used():
    # 300 KB without a line break, one "word" of it: SentencePiece alone would leave the line out.
    line = "".join(sample(3000)).replace("\n", " ") * 3 + "x" * 70_000
    for kind in ("bpe", "unigram"):
        result = train([line], TokenizerOptions(kind=kind, vocab_size=1200))
        assert result.manifest["sample"]["sentences"] > 10
        assert "xxxxxxxx" in result.vocabulary


def test_normalizer_option():
    texts = [*sample(3000), "ﬁne ① ｶﾞ"]
    folded = load(train(texts, TokenizerOptions(kind="bpe", vocab_size=1500, normalizer="nfkc")).model).processor
    assert folded.decode(folded.encode("ﬁne ①\nx")) == "fine 1\nx"
    exact = load(train(texts, TokenizerOptions(kind="bpe", vocab_size=1500)).model).processor
    assert exact.decode(exact.encode("ﬁne ①\nx")) == "ﬁne ①\nx"


@pytest.mark.parametrize("symbols", [("<a>", "<a>"), ("</s>",), ("",), ("x y",), ("\n",), ("a\u2581b",)])
def test_user_symbols_that_cannot_be(symbols):
    with pytest.raises(UsageError, match=r"tokenizer\.user_symbols"):
        TokenizerOptions(user_symbols=symbols)


def test_user_symbols_with_commas_and_quotes():
    result = train(sample(3000), TokenizerOptions(kind="bpe", vocab_size=1500, user_symbols=('<a,"b">',)))
    processor = load(result.model).processor
    assert processor.encode('c<a,"b">c', out_type=str) == ["c", '<a,"b">', "c"]


def test_model_file_reading(trained):
    for kind, number in (("unigram", modelfile.UNIGRAM), ("bpe", modelfile.BPE)):
        content = modelfile.read(trained[kind].model)
        processor = load(trained[kind].model).processor
        assert content.model_type == number
        assert content.byte_fallback
        assert not content.charsmap
        assert not content.add_dummy_prefix
        assert not content.remove_extra_whitespaces
        assert [piece.text for piece in content.pieces] == [processor.id_to_piece(i) for i in range(2000)]
        assert [piece.score for piece in content.pieces] == [processor.get_score(i) for i in range(2000)]
        assert sum(piece.type == modelfile.BYTE for piece in content.pieces) == 256


def test_no_model_file_is_refused(trained):
    model = trained["bpe"].model
    for content in (b"", b"\n\xff", model[: len(model) // 2], b"<html>"):
        with pytest.raises(CorpusmillError, match="not a SentencePiece model"):
            modelfile.read(content)
