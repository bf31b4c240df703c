"""A run for other programs: the same logits in transformers, a documented layout elsewhere; sizes and pictures."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from safetensors.torch import load_file

from pipeline.errors import CorpusmillError
from tests.train.conftest import VOCABULARY, language, write_tokens
from tests.train.test_loop import config_of
from train.config import RecurrentConfig, TrainConfig, TransformerConfig
from train.curves import draw
from train.diagram import diagram
from train.evaluate import load_model
from train.export import export
from train.loop import train
from train.model import build
from train.summary import summary, table

TRANSFORMERS = {
    "llama": {"kv_heads": 2},
    "qwen3": {"qk_norm": True, "rope_scaling": {"kind": "ntk", "factor": 2.0}},
    "gelu": {"activation": "gelu", "rope_scaling": {"kind": "linear", "factor": 4.0}},
}


def run_of(folder: Path, model: dict) -> tuple[Path, Path]:
    """A run, and the folder of a tokenizer whose model file is the one that the shards name."""
    (folder / "tokenizer").mkdir()
    (folder / "tokenizer/tokenizer.model").write_bytes(b"pieces")
    digest = hashlib.sha256(b"pieces").hexdigest()
    splits = {"train": [language(900, 1)], "validation": [language(200, 3)]}
    shards = write_tokens(folder / "shards", splits, VOCABULARY, digest)
    train(config_of("lstm", model=model, steps=20, precision="fp32"), str(shards), str(folder / "run"))
    return folder / "run", folder / "tokenizer"


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_transformers_gives_the_same_logits(tmp_path, name):
    transformers = pytest.importorskip("transformers")
    model = {"kind": "transformer", "layers": 2, "d_model": 32, "heads": 4, **TRANSFORMERS[name]}
    run, tokenizer = run_of(tmp_path, model)
    config = export(str(run), str(tokenizer), str(tmp_path / "out"))
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out", attn_implementation="eager").eval()
    assert type(theirs).__name__ == config["architectures"][0]
    ours, _ = load_model(run)
    tokens = torch.randint(0, VOCABULARY, (3, 16))
    with torch.no_grad():
        torch.testing.assert_close(theirs(tokens).logits, ours(tokens)[0], rtol=1e-4, atol=1e-4)
    assert (tmp_path / "out/tokenizer.model").read_bytes() == b"pieces"


def test_lstm_can_be_read_by_its_readme(tmp_path):
    run, tokenizer = run_of(tmp_path, {"kind": "lstm", "layers": 2, "d_model": 16})
    export(str(run), str(tokenizer), str(tmp_path / "out"))
    text = (tmp_path / "out/README.md").read_text()
    assert "gates stacked as i, f, g, o: c = sigmoid(f) c + sigmoid(i) tanh(g), h = sigmoid(o) tanh(c)" in text
    w = load_file(tmp_path / "out/model.safetensors")
    tokens, hs, cs, features = torch.randint(0, VOCABULARY, (9,)), torch.zeros(2, 16), torch.zeros(2, 16), []
    for token in tokens:
        x = w["scale"] * w["embedding.weight"][token]
        for layer in range(2):
            gates = w[f"core.weight_ih_l{layer}"] @ x + w[f"core.bias_ih_l{layer}"]
            i, f, g, o = (gates + w[f"core.weight_hh_l{layer}"] @ hs[layer] + w[f"core.bias_hh_l{layer}"]).chunk(4)
            cs[layer] = f.sigmoid() * cs[layer] + i.sigmoid() * g.tanh()
            x = hs[layer] = o.sigmoid() * cs[layer].tanh()
        features.append(x.clone())
    with torch.no_grad():
        ours = load_model(run)[0](tokens[None])[0][0]
    torch.testing.assert_close(w["scale"] * torch.stack(features) @ w["embedding.weight"].T, ours, rtol=1e-4, atol=1e-4)
    assert json.loads((tmp_path / "out/config.json").read_text())["model_type"] == "corpusmill-lstm"


@pytest.mark.parametrize("kind", ["additive", "dot"])
def test_attention_can_be_read_by_its_readme(tmp_path, kind):
    run, tokenizer = run_of(
        tmp_path, {"kind": "rnn", "layers": 1, "d_model": 16, "attention": kind, "attention_window": 3}
    )
    export(str(run), str(tokenizer), str(tmp_path / "out"))
    text = (tmp_path / "out/README.md").read_text()
    assert {"additive": "weight . tanh(query h + key s)", "dot": "(query h) . (key s) / sqrt(d)"}[kind] in text
    w = load_file(tmp_path / "out/model.safetensors")
    query, key, mix = (w[f"attention.{name}.weight"] for name in ("query", "key", "mix"))
    tokens, h, before, features = torch.randint(0, VOCABULARY, (9,)), torch.zeros(16), [], []
    for token in tokens:
        x = w["scale"] * w["embedding.weight"][token]
        h = torch.tanh(
            w["core.weight_ih_l0"] @ x + w["core.bias_ih_l0"] + w["core.weight_hh_l0"] @ h + w["core.bias_hh_l0"]
        )
        past = torch.stack([torch.zeros(16), *before[-3:]])
        keys = past @ key.T
        additive = kind == "additive"
        scores = torch.tanh(query @ h + keys) @ w["attention.weight"] if additive else keys @ (query @ h) / 16**0.5
        features.append(torch.tanh(mix @ torch.cat((torch.softmax(scores, 0) @ past, h))))
        before.append(h)
    with torch.no_grad():
        ours = load_model(run)[0](tokens[None])[0][0]
    torch.testing.assert_close(w["scale"] * torch.stack(features) @ w["embedding.weight"].T, ours, rtol=1e-4, atol=1e-4)


def test_what_cannot_be_exported_is_refused(tmp_path):
    model = {"kind": "transformer", "layers": 1, "d_model": 16, "heads": 2, "qk_norm": True, "activation": "gelu"}
    run, tokenizer = run_of(tmp_path, model)
    with pytest.raises(CorpusmillError, match="neither Llama nor Qwen3"):
        export(str(run), str(tokenizer), str(tmp_path / "out"))
    with pytest.raises(CorpusmillError, match="not empty"):
        export(str(run), str(tokenizer), str(tokenizer))
    (tokenizer / "tokenizer.model").write_bytes(b"others")
    with pytest.raises(CorpusmillError, match="another tokenizer"):
        export(str(run), str(tokenizer), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


CONFIGS = [
    TransformerConfig(heads=4, kv_heads=2, qk_norm=True, document_mask=True),
    TransformerConfig(activation="gelu"),
    RecurrentConfig(kind="lstm", variational=True, weight_dropout=0.5, dropout=0.1),
    RecurrentConfig(kind="gru", attention="additive"),
]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_sizes_and_picture(config):
    found = summary(TrainConfig(model=config), 500)
    assert found["parameters"] == build(config, 500, 128).n_parameters == sum(found["parts"].values())
    assert found["flops_per_token"] >= 6 * found["parameters"]
    assert any(f"{found['parameters']:,}" in line for line in table(found))
    picture = ElementTree.fromstring(diagram(config, 500, 128))
    text = " ".join(picture.itertext())
    assert f"× {config.layers}" in text
    assert "500" in text


def test_curves_are_drawn_from_the_metrics(tmp_path, shards_dir):
    train(config_of("lstm", eval_every=5), shards_dir, str(tmp_path / "run"))
    svg = (tmp_path / "run/curves.svg").read_text()
    tree = ElementTree.fromstring(svg)
    lines = [element for element in tree.iter() if element.tag.endswith("polyline")]
    assert len(lines) == 5
    assert len(lines[0].get("points").split()) == 14
    assert svg == draw(tmp_path / "run/metrics.csv", "run")
    (tmp_path / "empty.csv").write_text("step,tokens,loss\n")
    ElementTree.fromstring(draw(tmp_path / "empty.csv", "a < b"))
