"""What a training run is made of: one pydantic model tree. Imports no torch, so that a command line starts quickly."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, model_validator

from pipeline.section import Section

Share = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]
Dropout = Annotated[float, Field(ge=0, lt=1)]

LEARNS = 2  # raised when a configuration learns something else than before: runs of earlier versions are other runs


class RopeScaling(Section):
    """Rotary positions for a context longer than the wavelengths were made for."""

    kind: Literal["linear", "ntk"] = Field(
        description="linear: positions are divided by the factor (Chen et al., 2023); ntk: the base grows, so that the "
        "longest wavelength is multiplied by the factor and the shortest stays"
    )
    factor: float = Field(ge=1, description="how many times longer the context becomes")


class TransformerConfig(Section):
    """A decoder Transformer: pre-norm RMSNorm, rotary positions, SwiGLU, tied embeddings."""

    kind: Literal["transformer"] = "transformer"
    layers: int = Field(default=4, ge=1, description="number of blocks")
    d_model: int = Field(default=128, ge=8, description="width of the embedding and of every block")
    heads: int = Field(
        default=4, ge=1, description="attention heads; the width of each is d_model / heads, an even number"
    )
    kv_heads: int | None = Field(
        default=None, ge=1, description="key/value heads, shared by groups of heads; default: heads"
    )
    d_feedforward: int | None = Field(
        default=None, ge=8, description="inner width; default: 8/3 d_model up to a multiple of 32, 4 d_model for gelu"
    )
    activation: Literal["swiglu", "gelu"] = Field(
        default="swiglu", description="of the feed-forward layer; swiglu has a gate, gelu has none"
    )
    qk_norm: bool = Field(default=False, description="normalise queries and keys before the rotation, head by head")
    rope_base: float = Field(default=10_000.0, gt=1, description="base of the rotary wavelengths")
    rope_scaling: RopeScaling | None = Field(default=None, description="stretch the rotary positions; default: not")
    document_mask: bool = Field(
        default=False, description="a token attends to tokens of its own document only, not to what stands before it"
    )
    dropout: Dropout = Field(default=0.0, description="dropout of the embedding and of each block's output")

    @property
    def d_inner(self) -> int:
        """Width inside the feed-forward layer."""
        if self.d_feedforward:
            return self.d_feedforward
        return 4 * self.d_model if self.activation == "gelu" else -(-8 * self.d_model // 96) * 32

    @model_validator(mode="after")
    def _divides(self) -> TransformerConfig:
        if self.d_model % (2 * self.heads):
            raise ValueError(f"d_model {self.d_model} does not divide into {self.heads} heads of even width")
        if self.heads % (self.kv_heads or self.heads):
            raise ValueError(f"{self.heads} heads do not divide into groups for {self.kv_heads} kv_heads")
        return self


class RecurrentConfig(Section):
    """An RNN (tanh), LSTM or GRU whose state is carried from batch to batch; tied embeddings."""

    kind: Literal["rnn", "lstm", "gru"]
    layers: int = Field(default=2, ge=1, description="number of recurrent layers")
    d_model: int = Field(default=256, ge=8, description="width of the embedding and of every layer")
    dropout: Dropout = Field(default=0.0, description="dropout of the embedding, between layers and of the output")
    variational: bool = Field(
        default=False, description="one dropout mask for all tokens of a sequence (Gal and Ghahramani, 2016)"
    )
    weight_dropout: Dropout = Field(
        default=0.0, description="dropout of the hidden-to-hidden matrices (AWD-LSTM: Merity et al., 2018)"
    )
    embedding_dropout: Dropout = Field(default=0.0, description="share of pieces whose whole embedding is dropped")
    attention: Literal["additive", "dot"] | None = Field(
        default=None, description="attend to past states: additive (Bahdanau et al., 2015) or dot (Luong et al., 2015)"
    )
    attention_window: int = Field(default=64, ge=1, description="past states that attention sees")


class OptimizerConfig(Section):
    """Weight decay touches matrices, not gains and biases."""

    kind: Literal["adamw", "adam", "sgd", "rmsprop", "muon"] = Field(
        default="adamw", description="muon takes the matrices of a Transformer's blocks and leaves the rest to adamw"
    )
    lr: float = Field(default=3e-3, gt=0, description="peak learning rate")
    betas: tuple[Decay, Decay] = Field(
        default=(0.9, 0.999), description="adamw, adam: decay of the running mean and of the running square"
    )
    momentum: Decay = Field(default=0.0, description="of sgd, rmsprop and muon (muon: 0 stands for its usual 0.95)")
    weight_decay: float = Field(default=0.1, ge=0, description="decoupled for adamw and muon, else added to gradients")
    clip: float = Field(default=1.0, gt=0, description="largest norm of the whole gradient")
    skip_spikes: float = Field(
        default=0.0,
        ge=0,
        description="skip the update of a batch whose gradient norm is this many times the running mean; 0: never",
    )


class ScheduleConfig(Section):
    """Linear warm-up, then down to a share of the peak."""

    kind: Literal["cosine", "linear", "constant"] = Field(default="cosine", description="the way down; constant: none")
    warmup: int = Field(default=50, ge=0, description="steps of linear warm-up")
    final: Share = Field(default=0.1, description="learning rate at the last step, as a share of the peak")


PRESETS: dict[str, dict[str, Any]] = {
    "laptop": {  # some ten minutes on two cores
        "model": {"kind": "transformer", "layers": 4, "d_model": 128, "heads": 4},
        "optimizer": {"kind": "muon", "lr": 5e-3},
        "schedule": {"kind": "linear", "final": 0.0},
        "steps": 2000,
        "batch": 16,
        "context": 128,
    },
    "laptop-lstm": {
        "model": {"kind": "lstm", "layers": 2, "d_model": 256, "dropout": 0.1},
        "optimizer": {"lr": 5e-3},
        "schedule": {"kind": "linear", "final": 0.0},
        "steps": 2000,
        "batch": 16,
        "context": 64,
    },
    "gpu": {  # 25 M parameters without the embedding: an hour on one GPU
        "model": {"kind": "transformer", "layers": 8, "d_model": 512, "heads": 8, "qk_norm": True},
        "optimizer": {"lr": 1.5e-3, "betas": [0.9, 0.95]},
        "schedule": {"warmup": 200},
        "steps": 10_000,
        "batch": 64,
        "context": 512,
    },
    "124m": {  # the shape of GPT-2 small, half a million tokens a step
        "model": {"kind": "transformer", "layers": 12, "d_model": 768, "heads": 12},
        "optimizer": {"lr": 6e-4, "betas": [0.9, 0.95]},
        "schedule": {"warmup": 700},
        "steps": 19_000,
        "batch": 512,
        "micro_batch": 32,
        "context": 1024,
        "log_every": 10,
        "save_every": 1000,
        "eval_every": 1000,
    },
}


def at_depth(depth: int) -> dict[str, Any]:
    """The one dial: ``depth`` blocks, 64 wide a block and a head; wider models take smaller steps (1/sqrt of width)."""
    return {
        "model": {"kind": "transformer", "layers": depth, "d_model": 64 * depth, "heads": depth},
        "optimizer": {"lr": round(3e-3 * (2 / depth) ** 0.5, 6)},
    }


class TrainConfig(Section):
    """One run. Tokens trained on = steps * batch * context."""

    preset: Literal["laptop", "laptop-lstm", "gpu", "124m"] | None = Field(
        default=None, exclude=True, description="start from the settings of a preset; keys given beside it win"
    )
    depth: int | None = Field(
        default=None, ge=1, exclude=True, description="one dial for a Transformer: blocks; width, heads and lr follow"
    )
    model: Annotated[TransformerConfig | RecurrentConfig, Field(discriminator="kind")] = Field(
        default_factory=TransformerConfig
    )
    optimizer: OptimizerConfig = Field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = Field(default_factory=ScheduleConfig)
    steps: int = Field(default=500, ge=1, description="optimizer steps")
    batch: int = Field(default=16, ge=1, description="sequences a step")
    micro_batch: int | None = Field(
        default=None, ge=1, description="sequences a forward pass and process, a divisor of its share of batch"
    )
    context: int = Field(default=128, ge=1, description="tokens a sequence")
    seed: int = Field(default=0, ge=0, lt=2**63, description="of initial weights, order of data, and dropout")
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="auto: cuda where there is one")
    processes: int | None = Field(
        default=None, ge=1, description="processes that share each batch; default: one a GPU, one on the CPU"
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto",
        description="of matrix products (on a CPU not those of attention), and with bf16 on a GPU of what flows from "
        "block to block; auto: bf16 where the hardware has it",
    )
    compile: bool | None = Field(
        default=None,
        description="torch.compile for a Transformer; default: as the run began; on a GPU, and on a CPU for what takes "
        "a core a quarter of an hour. What cannot be compiled runs as is",
    )
    log_every: int = Field(default=20, ge=1, description="steps between rows of metrics.csv")
    save_every: int = Field(default=200, ge=1, description="steps between checkpoints; the last step is always saved")
    keep: int = Field(default=1, ge=1, description="checkpoints that stay")
    eval_every: int = Field(
        default=0, ge=0, description="steps between evaluations on the validation split; 0: at the end only"
    )

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, values: Any) -> Any:
        """Put preset and depth under what is given."""
        if not isinstance(values, dict) or not ({"preset", "depth"} & values.keys()):
            return values
        depth, under = values.get("depth"), PRESETS.get(str(values.get("preset")), {})
        if isinstance(depth, int) and depth >= 1:
            model = values.get("model")
            if isinstance(model, dict) and model.get("kind", "transformer") != "transformer":
                raise ValueError(f"depth sizes a transformer; a {model['kind']} has model.layers and model.d_model")
            kind = under.get("model", {}).get("kind", "transformer")
            if kind != "transformer" and not (isinstance(model, dict) and "kind" in model):
                raise ValueError(f"depth sizes a transformer; the preset {values['preset']} is a {kind}")
            under = _over(under, at_depth(depth))
        return _over(under, values)

    @model_validator(mode="after")
    def _divides(self) -> TrainConfig:
        if self.batch % (self.micro_batch or self.batch):
            raise ValueError(f"micro_batch {self.micro_batch} does not divide batch {self.batch}")
        if self.batch % ((self.processes or 1) * (self.micro_batch or 1)):
            parts = f" in parts of micro_batch {self.micro_batch}" if self.micro_batch else ""
            raise ValueError(f"{self.processes} processes do not share batch {self.batch} evenly{parts}")
        if self.optimizer.kind == "muon" and self.model.kind != "transformer":
            raise ValueError(f"muon is for the matrices of a Transformer's blocks; a {self.model.kind} takes adamw")
        return self

    @property
    def identity(self) -> dict[str, Any]:
        """What decides what is learnt: not how it is computed, nor how often it is told, saved and judged."""
        return self.model_dump(
            mode="json", exclude={"processes", "keep", "compile", "log_every", "save_every", "eval_every"}
        )

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the identity: what makes two runs the same run."""
        return hashlib.sha256(json.dumps([LEARNS, self.identity], sort_keys=True).encode()).hexdigest()


def _over(under: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """``values`` laid over ``under``, table by table; a model of another kind replaces the whole table."""
    merged = dict(under)
    for name, value in values.items():
        below = merged.get(name)
        if isinstance(value, BaseModel):
            value = value.model_dump()
        if (
            isinstance(below, dict)
            and isinstance(value, dict)
            and value.get("kind", below.get("kind")) == below.get("kind")
        ):
            value = _over(below, value)
        merged[name] = value
    return merged
