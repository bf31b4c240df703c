from __future__ import annotations

import io
import pickle

import numpy as np
import pyarrow as pa
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import CorpusmillError
from tests.tokenizer.real import pages, sample
from tokenizer.encode import decode, encode, load
from tokenizer.train import TokenizerOptions, train

TEXTS = pa.array([text for _, text in pages()])


def test_ids_are_those_of_sentencepiece(model):
    lists = encode(TEXTS, model)
    assert lists.type == pa.list_(pa.uint16())
    assert lists.to_pylist() == [[*model.processor.encode(text), 2] for text in TEXTS.to_pylist()]
    assert encode(TEXTS, model, threads=1).equals(lists)
    begun = encode(TEXTS[:2], model, add_bos=True, add_eos=False)
    assert begun.to_pylist() == [[1, *row[:-1]] for row in lists[:2].to_pylist()]


def test_decoding_gives_every_text_back(model):
    assert decode(encode(TEXTS, model), model).equals(TEXTS)


def test_any_text_comes_back(trained):
    model = load(trained["bpe"].model)

    @given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\u2581")), max_size=5))
    @settings(max_examples=100, deadline=None)
    def check(texts):
        array = pa.array(texts, pa.string())
        lists = encode(array, model, threads=1)
        assert decode(lists, model, threads=1).equals(array)
        assert [row[-1] for row in lists.to_pylist()] == [2] * len(texts)

    check()


def test_slices_and_large_strings(model):
    whole = encode(TEXTS, model)
    assert encode(TEXTS[3:9], model).equals(whole[3:9])
    assert encode(TEXTS[3:9].cast(pa.large_string()), model).equals(whole[3:9])
    assert decode(whole[3:9], model).equals(TEXTS[3:9])


def test_no_texts_and_empty_texts(model):
    assert encode(pa.array([], pa.string()), model).type == pa.list_(pa.uint16())
    assert encode(pa.array(["", "a", ""]), model).to_pylist()[::2] == [[2], [2]]
    assert decode(pa.array([[], [2], []], pa.list_(pa.uint16())), model).to_pylist() == ["", "", ""]
    assert len(decode(pa.array([], pa.list_(pa.uint16())), model)) == 0


def test_refusals(model):
    with pytest.raises(CorpusmillError, match="text 1 of the batch is null"):
        encode(pa.array(["a", None]), model)
    with pytest.raises(CorpusmillError, match="text 1 of the batch holds NUL"):
        encode(pa.array(["a", "b\0"]), model)
    surrogate = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(np.array([0, 3], np.int32)), pa.py_buffer(b"\xed\xa0\x80")]
    )
    with pytest.raises(CorpusmillError, match="no valid UTF-8"):
        encode(surrogate, model)
    with pytest.raises(CorpusmillError, match=r"token id 2000 .* 2000 pieces"):
        decode(pa.array([[1], [2000]], pa.list_(pa.uint16())), model)


def test_load_refuses_what_is_no_model(tmp_path, model):
    path = tmp_path / "some.model"
    path.write_bytes(b"not a model")
    with pytest.raises(CorpusmillError, match=r"some\.model: not a SentencePiece model"):
        load(path)
    path.write_bytes(model.content)
    assert load(path).sha256 == load(str(path)).sha256 == model.sha256


def test_model_travels_to_another_process_as_its_file(model):
    encode(TEXTS[:1], model)  # the loaded processor must not travel along
    content = pickle.dumps(model)
    assert len(content) < len(model.content) + 200
    assert encode(TEXTS, pickle.loads(content)).equals(encode(TEXTS, model))


def test_large_vocabulary_takes_uint32():
    # A real vocabulary above 65,536 pieces: most of it reserved ids, so that it trains in a second.
    model = load(train(sample(2000), TokenizerOptions(kind="bpe", vocab_size=70_000, reserved=69_000)).model)
    lists = encode(TEXTS[:3], model)
    assert lists.type == pa.list_(pa.uint32())
    assert decode(lists, model).equals(TEXTS[:3])


def test_model_of_others_without_an_end_piece():
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sample(300)),
        model_writer=written,
        vocab_size=500,
        model_type="char",
        eos_id=-1,
        minloglevel=2,
        hard_vocab_limit=False,
    )
    model = load(written.getvalue())
    assert model.special_ids == {"unk": 0, "bos": 1}
    with pytest.raises(CorpusmillError, match="no eos piece"):
        encode(TEXTS[:1], model)
    assert encode(TEXTS[:1], model, add_eos=False).to_pylist() == [model.processor.encode(TEXTS[0].as_py())]
