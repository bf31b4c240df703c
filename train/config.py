"""What a training run is made of: one pydantic model tree. Imports no torch, so that a command line starts quickly."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Share = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TransformerConfig(_Section):
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
        default=None, ge=8, description="inner width of SwiGLU; default: 8/3 d_model, up to a multiple of 32"
    )
    rope_base: float = Field(default=10_000.0, gt=1, description="base of the rotary wavelengths")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="dropout of the embedding and of each block's output")

    @model_validator(mode="after")
    def _divides(self) -> TransformerConfig:
        if self.d_model % (2 * self.heads):
            raise ValueError(f"d_model {self.d_model} does not divide into {self.heads} heads of even width")
        if self.heads % (self.kv_heads or self.heads):
            raise ValueError(f"{self.heads} heads do not divide into groups for {self.kv_heads} kv_heads")
        return self


class RecurrentConfig(_Section):
    """An LSTM or GRU whose state is carried from batch to batch; tied embeddings."""

    kind: Literal["lstm", "gru"]
    layers: int = Field(default=2, ge=1, description="number of recurrent layers")
    d_model: int = Field(default=256, ge=8, description="width of the embedding and of every layer")
    dropout: float = Field(
        default=0.0, ge=0, lt=1, description="dropout of the embedding, between layers and of the output"
    )


class OptimizerConfig(_Section):
    """AdamW. Weight decay touches matrices, not gains and biases."""

    lr: float = Field(default=3e-3, gt=0, description="peak learning rate")
    betas: tuple[Decay, Decay] = Field(
        default=(0.9, 0.95), description="decay of the running mean and of the running square"
    )
    weight_decay: float = Field(default=0.1, ge=0, description="decoupled weight decay")
    clip: float = Field(default=1.0, gt=0, description="largest norm of the whole gradient")


class ScheduleConfig(_Section):
    """Linear warm-up, then a cosine down to a share of the peak."""

    warmup: int = Field(default=50, ge=0, description="steps of linear warm-up")
    final: Share = Field(default=0.1, description="learning rate at the last step, as a share of the peak")


class TrainConfig(_Section):
    """One run. Tokens trained on = steps * batch * context."""

    model: Annotated[TransformerConfig | RecurrentConfig, Field(discriminator="kind")] = Field(
        default_factory=TransformerConfig
    )
    optimizer: OptimizerConfig = Field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = Field(default_factory=ScheduleConfig)
    steps: int = Field(default=500, ge=1, description="optimizer steps")
    batch: int = Field(default=16, ge=1, description="sequences a step")
    micro_batch: int | None = Field(
        default=None, ge=1, description="sequences a forward pass, a divisor of batch; default: batch"
    )
    context: int = Field(default=128, ge=1, description="tokens a sequence")
    seed: int = Field(default=0, ge=0, lt=2**63, description="of initial weights, order of data, and dropout")
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="auto: cuda where there is one")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="of matrix products; auto: bf16 where the hardware has it"
    )
    log_every: int = Field(default=20, ge=1, description="steps between rows of metrics.csv")
    save_every: int = Field(default=200, ge=1, description="steps between checkpoints; the last step is always saved")
    eval_every: int = Field(
        default=0, ge=0, description="steps between evaluations on the validation split; 0: at the end only"
    )

    @model_validator(mode="after")
    def _divides(self) -> TrainConfig:
        if self.batch % (self.micro_batch or self.batch):
            raise ValueError(f"micro_batch {self.micro_batch} does not divide batch {self.batch}")
        return self

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the configuration: what makes two runs the same run."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()
