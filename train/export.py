"""A trained run as a folder that others read: safetensors, config.json, the tokenizer, a README that says what is what.

A Transformer becomes a Llama, or with ``qk_norm`` a Qwen3, of `transformers`, with the same logits: our rotary pairs
(i, i + d/2), RMSNorm and SwiGLU are theirs. A plain GELU layer is a gated one whose gate branch is GELU and whose other
branch is the constant 1, a bias. A recurrent model has no class there; its README gives the layout of the tensors.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from pipeline.errors import CorpusmillError
from pipeline.storage import TEMPORARY, sync_folder
from train.config import RecurrentConfig, TrainConfig, TransformerConfig
from train.evaluate import check_tokenizer, load_model
from train.snapshot import sha256_of
from train.transformer import EPS

_TOKENIZER = ("tokenizer.model", "tokenizer.json", "tokenizer_config.json")
_NAMES = {
    "attention_norm": "input_layernorm",
    "attention.query": "self_attn.q_proj",
    "attention.key": "self_attn.k_proj",
    "attention.value": "self_attn.v_proj",
    "attention.out": "self_attn.o_proj",
    "attention.query_norm": "self_attn.q_norm",
    "attention.key_norm": "self_attn.k_norm",
    "feedforward_norm": "post_attention_layernorm",
    "feedforward.gate": "mlp.gate_proj",
    "feedforward.up": "mlp.up_proj",
    "feedforward.out": "mlp.down_proj",
}


def export(run_dir: str, tokenizer_dir: str, out_dir: str) -> dict[str, Any]:
    """Write the latest checkpoint of a run to ``out_dir``, a folder that must not exist or be empty.

    ``tokenizer_dir``: the tokenizer of the corpus. Gives config.json's content. CorpusmillError where the tokenizer is
    another, or the model cannot be expressed.
    """
    out = Path(out_dir)
    if out.exists() and not out.is_dir():
        raise CorpusmillError("a file is here", file=out_dir, mend="name a new folder")
    if out.exists() and any(out.iterdir()):
        raise CorpusmillError("the folder is not empty", file=out_dir, mend="name a new one")
    model, saved = load_model(run_dir)
    described = saved.described
    source = Path(tokenizer_dir) / _TOKENIZER[0]
    if not source.exists():
        raise CorpusmillError("no tokenizer", file=str(source), mend="corpusmill tokenizer CORPUS_TOML")
    check_tokenizer(sha256_of(source), described["vocab_size"], described, str(source))
    run = TrainConfig.model_validate(described["config"])
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    if isinstance(run.model, TransformerConfig):
        config = _transformer_config(run.model, described, run.context)
        weights = _transformer_weights(run.model, weights)
    else:
        config = _recurrent_config(run.model, described)
    files = {
        "model.safetensors": save(weights, metadata={"format": "pt"}),
        "config.json": (json.dumps(config, indent=1, sort_keys=True) + "\n").encode(),
        "README.md": _readme(run, described, config).encode(),
    }
    _write_whole(out, files, [Path(tokenizer_dir) / name for name in _TOKENIZER])
    return config


def _write_whole(out: Path, files: dict[str, bytes], copied: list[Path]) -> None:
    temporary = out.parent / f"{TEMPORARY}{out.name}"
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        for name, data in files.items():
            (temporary / name).write_bytes(data)
        for path in copied:
            if path.exists():  # a tokenizer that transformers cannot express has no tokenizer.json
                shutil.copyfile(path, temporary / path.name)
        sync_folder(str(temporary))
        os.replace(temporary, out)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise CorpusmillError(
            f"cannot be written: {error}", file=str(out), mend="make room, or name another"
        ) from error


def _transformer_config(model: TransformerConfig, described: dict[str, Any], context: int) -> dict[str, Any]:
    gelu = model.activation == "gelu"
    if gelu and model.qk_norm:
        raise CorpusmillError(
            "neither Llama nor Qwen3 has both a plain GELU layer and normalised queries",
            mend='train with activation = "swiglu", or without qk_norm',
        )
    scaling, base = model.rope_scaling, model.rope_base
    rope: dict[str, Any] = {"rope_type": "default"}
    d_head = model.d_model // model.heads
    if scaling and scaling.kind == "linear":
        rope = {"rope_type": "linear", "factor": scaling.factor}
    elif scaling and d_head > 2:
        base *= scaling.factor ** (d_head / (d_head - 2))
    ids = described["special_ids"]
    eos = ids["eos"]
    return {
        "architectures": ["Qwen3ForCausalLM" if model.qk_norm else "LlamaForCausalLM"],
        "model_type": "qwen3" if model.qk_norm else "llama",
        "vocab_size": described["vocab_size"],
        "hidden_size": model.d_model,
        "intermediate_size": model.d_inner,
        "num_hidden_layers": model.layers,
        "num_attention_heads": model.heads,
        "num_key_value_heads": model.kv_heads or model.heads,
        "head_dim": d_head,
        "hidden_act": "gelu" if gelu else "silu",
        "mlp_bias": gelu,
        "attention_bias": False,
        "rms_norm_eps": EPS,
        "rope_theta": base,
        "rope_scaling": rope if scaling and scaling.kind == "linear" else None,
        "rope_parameters": {**rope, "rope_theta": base},  # the name since transformers 5
        "max_position_embeddings": context,
        "tie_word_embeddings": True,
        "bos_token_id": ids["bos"] if described.get("bos") else eos,  # a text follows the end of the text before
        "eos_token_id": eos,
        "torch_dtype": "float32",
    }


def _transformer_weights(model: TransformerConfig, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    out = {"model.embed_tokens.weight": weights["embedding.weight"], "model.norm.weight": weights["norm.weight"]}
    for name, tensor in weights.items():
        if not name.startswith("blocks."):
            continue
        _, number, rest = name.split(".", 2)
        if model.activation == "gelu" and rest == "feedforward.up.weight":
            rest = "feedforward.gate.weight"
        out[f"model.layers.{number}.{_NAMES[rest.removesuffix('.weight')]}.weight"] = tensor
    if model.activation == "gelu":
        for layer in range(model.layers):
            mlp = f"model.layers.{layer}.mlp"
            out[f"{mlp}.up_proj.weight"] = torch.zeros(model.d_inner, model.d_model)
            out[f"{mlp}.up_proj.bias"] = torch.ones(model.d_inner)
            out[f"{mlp}.gate_proj.bias"] = torch.zeros(model.d_inner)
            out[f"{mlp}.down_proj.bias"] = torch.zeros(model.d_model)
    return out


def _recurrent_config(model: RecurrentConfig, described: dict[str, Any]) -> dict[str, Any]:
    return {
        "model_type": f"corpusmill-{model.kind}",
        "vocab_size": described["vocab_size"],
        "hidden_size": model.d_model,
        "num_hidden_layers": model.layers,
        "attention": model.attention,
        "attention_window": model.attention_window if model.attention else None,
        "tie_word_embeddings": True,
        "eos_token_id": described["special_ids"]["eos"],
        "torch_dtype": "float32",
    }


_LAYOUT = {
    "rnn": "h = tanh(W_ih x + b_ih + W_hh h + b_hh)",
    "lstm": "gates stacked as i, f, g, o: c = sigmoid(f) c + sigmoid(i) tanh(g), h = sigmoid(o) tanh(c)",
    "gru": "gates stacked as r, z, n: n = tanh(W_in x + b_in + r (W_hn h + b_hn)), h = (1 - z) n + z h",
}


def _round_texts(described: dict[str, Any]) -> str:
    ids = described["special_ids"]
    if described.get("bos"):
        return f"- a text begins after tokens {ids['eos']}, {ids['bos']} and ends with {ids['eos']}: put both first"
    return f"- a text begins after token {ids['eos']} and ends with it: put it first"


def _readme(run: TrainConfig, described: dict[str, Any], config: dict[str, Any]) -> str:
    lines = [
        f"# A {run.model.kind} language model trained with corpusmill",
        "",
        f"- {described['step']:,} steps on the corpus of fingerprint `{described['fingerprint']}`",
        f"- tokenizer: SHA-256 `{described['tokenizer_sha256']}`, {described['vocab_size']:,} pieces",
        _round_texts(described),
        "",
    ]
    if isinstance(run.model, TransformerConfig):
        lines += [f"`transformers.AutoModelForCausalLM.from_pretrained` opens it as {config['architectures'][0]}."]
        if run.model.document_mask:
            lines += ["It was trained with attention inside documents: give it one document at a time."]
        return "\n".join([*lines, ""])
    lines += [
        "Tensors of model.safetensors, float32; V pieces, d wide, k gates (1 rnn, 4 lstm, 3 gru), layers l = 0 ...:",
        "",
        "- `embedding.weight` (V, d): input embedding and, transposed, output layer (no bias)",
        "- `scale` = sqrt(d): the input of the first layer is scale embedding[piece]",
        "- `core.weight_ih_l{l}`, `core.weight_hh_l{l}` (k d, d), `core.bias_ih_l{l}`, `core.bias_hh_l{l}` (k d)",
        f"- a layer: {_LAYOUT[run.model.kind]}; its h is the input of the next",
    ]
    if run.model.attention:
        lines += [
            "- `attention.query.weight`, `attention.key.weight` (d, d)"
            + (", `attention.weight` (d)" if run.model.attention == "additive" else ""),
            "- the score of a state s before h, its softmax being over these states and the zero state: "
            + (
                "weight . tanh(query h + key s)"
                if run.model.attention == "additive"
                else "(query h) . (key s) / sqrt(d)"
            ),
            "- `attention.mix.weight` (d, 2 d): features = tanh(mix [found; h]), found being the softmax mean of the "
            f"{run.model.attention_window} states before and a zero state",
        ]
    return "\n".join([*lines, "- logits = scale features embedding^T", ""])
