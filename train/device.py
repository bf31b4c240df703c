"""Where and how a model runs: device, precision, compilation, peak speed, memory."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.errors import CorpusmillError, UsageError
from pipeline.memory import peak_memory
from train.config import RecurrentConfig, TrainConfig, TransformerConfig
from train.loss import softmax_gradient_to_compile
from train.model import LanguageModel

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

# Operations of a run that takes a core a quarter of an hour: compiling takes half a minute of it and saves a seventh.
_LONG_ON_A_CPU = 5e13

# Dense half-precision operations a second with float32 sums, as the makers state them; the longer name first.
_PEAKS = {
    "B200": 2250e12,
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
    "A10G": 70e12,
    "RTX 4090": 165e12,
    "RTX 3090": 71e12,
}


def choose(wanted: str) -> torch.device:
    """The device for ``auto``, ``cpu`` or ``cuda``; UsageError where it is absent."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UsageError('device = "cuda", but torch finds no CUDA device', mend='device = "auto" or "cpu"')
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def check(config: TrainConfig) -> None:
    """Refuse a run that this machine cannot begin; UsageError says what can be had."""
    where = choose(config.device)
    how_many(config, where)
    if config.precision == "fp16" and where.type == "cpu" and isinstance(config.model, RecurrentConfig):
        raise UsageError(f"no fp16 for a {config.model.kind} on a CPU", mend='precision = "fp32" or "auto"')


def how_many(config: TrainConfig, device: torch.device) -> int:
    """Processes for a run: as configured, or one a GPU as far as the batch can be shared, or one."""
    if config.processes:
        if device.type == "cuda" and config.processes > torch.cuda.device_count():
            raise UsageError(f"{config.processes} processes for {torch.cuda.device_count()} GPUs", mend="processes")
        return config.processes
    most = torch.cuda.device_count() if device.type == "cuda" else 1
    return max(n for n in range(1, most + 1) if not config.batch % (n * (config.micro_batch or 1)))


def precision_of(wanted: str, device: torch.device) -> str:
    """bf16 by default only where the hardware multiplies it: elsewhere it is emulated, and slower than fp32."""
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        fast = any(getattr(torch.cpu, name, lambda: False)() for name in names)
    return "bf16" if fast else "fp32"


def needs_scaling(config: TransformerConfig | RecurrentConfig, precision: str, device: torch.device) -> bool:
    """Whether gradients may fall below what half precision can tell from 0: fp16 by name, and torch's recurrent kernels
    on a GPU, which autocast runs in fp16 whatever type it is given.
    """
    return precision == "fp16" or (
        precision == "bf16" and device.type == "cuda" and isinstance(config, RecurrentConfig)
    )


def autocast(device: torch.device, precision: str) -> Any:
    """The context in which products are taken in ``precision``."""
    return torch.autocast(device.type, DTYPES[precision], enabled=precision != "fp32")


def compiled(model: LanguageModel, config: TrainConfig, precision: str, rows: int, say: Callable[[str], None]) -> bool:
    """Compile what training goes through, where that is wanted and works; tried once with ``rows`` sequences.

    Recurrent cores are kernels of their own and stay as they are: only their output layer is compiled. What cannot be
    compiled runs uncompiled, and ``say`` is told why. Gives whether it is compiled.
    """
    device = next(model.parameters()).device
    if not (compiling_pays(config, model.n_parameters, device) if config.compile is None else config.compile):
        return False
    eager = model.through, model.softmax
    trial = torch.zeros(rows, config.context, dtype=torch.int64, device=device)
    if isinstance(config.model, TransformerConfig):  # with document_mask, the number of documents differs
        model.through = torch.compile(model.through, dynamic=None if config.model.document_mask else False)
    model.softmax = torch.compile(softmax_gradient_to_compile, dynamic=False)
    try:
        with torch.random.fork_rng():
            model.train()
            with autocast(device, precision):
                loss, _ = model(trial, None, trial)
            loss.backward()
    except (RuntimeError, OSError, ImportError) as error:  # dynamo's and inductor's are RuntimeErrors
        say(f"torch.compile is off: {type(error).__name__}: {str(error).strip().splitlines()[0]}")
        model.through, model.softmax = eager
        return False
    finally:
        model.zero_grad()
    return True


def compiling_pays(config: TrainConfig, n_parameters: int, device: torch.device) -> bool:
    """Whether to compile where the configuration does not say: all on a GPU; on a CPU, a Transformer's long run."""
    if device.type == "cuda" or not isinstance(config.model, TransformerConfig):
        return device.type == "cuda"
    tokens = config.steps * config.batch * config.context
    return tokens * flops_per_token(config.model, n_parameters, config.context) >= _LONG_ON_A_CPU


def flops_per_token(config: TransformerConfig | RecurrentConfig, n_parameters: int, context: int) -> float:
    """Floating-point operations to train on one token: 6 a parameter, and attention (Chowdhery et al., 2022, B)."""
    if isinstance(config, TransformerConfig):
        return 6 * n_parameters + 12 * config.layers * config.d_model * context
    window = config.attention_window if config.attention else 0
    return 6 * n_parameters + 12 * config.d_model * window


def peak(device: torch.device, precision: str) -> float | None:
    """Operations a second that the device could do at most; None where no table says so."""
    if device.type != "cuda" or precision == "fp32":
        return None
    return peak_of(torch.cuda.get_device_name(device))


def peak_of(name: str) -> float | None:
    """The peak of a GPU by the name that its driver gives; None for one that the table lacks."""
    words = set(re.split(r"[\s-]+", name)) - {"NVIDIA"}
    if "Laptop" in words:
        return None  # slower than its namesake
    return next((rate for known, rate in _PEAKS.items() if words >= set(known.split())), None)


def keep_freed_memory() -> None:
    """Have this process keep the memory that it frees, where the C library is glibc.

    Tensors on a CPU come from malloc. What one step frees the next takes again, but glibc gives it back to the kernel
    meanwhile, which fills each page with zeros anew: up to a tenth of a step. Blocks over 32 MB are still given back,
    and now what an earlier run in this process has kept.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.malloc_trim(0)
        library.mallopt(_M_MMAP_THRESHOLD, 32 << 20)  # the most that it takes
        library.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h


def memory_used(device: torch.device) -> float:
    """Most memory held so far, in MB: the GPU's by torch, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    return peak_memory() / 1e6


def memory_free(device: torch.device) -> int:
    """Bytes that a run may still take: of the GPU, or of the machine and its control group."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    free = int(lines["MemAvailable"].split()[0]) * 1024
    group = free_of_group(Path("/sys/fs/cgroup"))
    return free if group is None else min(free, group)


def free_of_group(folder: Path) -> int | None:
    """Bytes that the control group (version 2) in ``folder`` may still take; None where it has no limit.

    It is charged with the files that its processes have read, too, which the kernel drops when memory is asked for.
    """
    limit, used, details = folder / "memory.max", folder / "memory.current", folder / "memory.stat"
    if not (limit.exists() and used.exists()) or (most := limit.read_text().strip()) == "max":
        return None
    charged = dict(line.split() for line in details.read_text().splitlines()) if details.exists() else {}
    files = int(charged.get("active_file", 0)) + int(charged.get("inactive_file", 0))
    return int(most) - int(used.read_text()) + files


_SLOTS = {"adamw": 2, "adam": 2, "muon": 2, "sgd": 1, "rmsprop": 2}  # numbers that each optimizer keeps a weight


def check_model_fits(config: TrainConfig, n_parameters: int, device: torch.device) -> None:
    """Refuse a model whose weights, gradients and optimizer alone exceed the memory that is free."""
    needed, free = at_rest(config, n_parameters), memory_free(device)
    if needed > free:
        raise CorpusmillError(
            f"not enough memory: {n_parameters:,} parameters with gradients and {config.optimizer.kind} take "
            f"{needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free",
            mend="a smaller model.d_model or model.layers",
        )


# A step was seen to take up to so many times what it keeps for backward: 1.1 for a plain LSTM on a CPU, 2.4 for a
# Transformer, 2.8 in bf16, 3.7 with additive attention. The batch that is named as fitting leaves room for it.
_STEP_OVER_KEPT = 4


def check_batch_fits(model: LanguageModel, config: TrainConfig, precision: str, rows: int) -> CorpusmillError:
    """Refuse ``rows`` sequences at once where what backward needs of them exceeds the memory that is free.

    Measured on one sequence by what autograd keeps: a lower bound, so nothing that fits is refused. Gives what to raise
    where a step runs out of memory all the same.
    """
    device = next(model.parameters()).device
    free = memory_free(device) - at_rest(config, model.n_parameters) + 4 * model.n_parameters
    try:
        each = kept_for_backward(model, config.context, precision)
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        raise CorpusmillError(
            f"not enough memory: one sequence of {config.context} tokens does not fit into what is free",
            mend="a shorter context or a smaller model",
        ) from error
    refused = refusal(config, rows, each, free)
    if rows * each > free:
        raise refused
    return refused


def out_of_memory(error: RuntimeError) -> bool:
    """Whether torch could not have memory, of a GPU or of the machine."""
    return isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)


def refusal(config: TrainConfig, rows: int, each: int, free: int) -> CorpusmillError:
    """What is said when ``rows`` sequences of ``each`` bytes do not fit into ``free``."""
    most = max(free, 0) // max(_STEP_OVER_KEPT * each, 1)
    fits = max((n for n in range(1, min(most, rows - 1) + 1) if rows % n == 0), default=0)  # for any ``processes``
    if fits:
        mend = f"micro_batch = {fits} fits, with the same result"
    else:
        mend = ("micro_batch = 1, or " if each <= free and rows > 1 else "") + "a shorter context or a smaller model"
    return CorpusmillError(
        f"not enough memory: {rows} sequences of {config.context} tokens at once keep {rows * each / 1e9:.1f} GB for "
        f"the backward pass and take more on the way, {max(free, 0) / 1e9:.1f} GB are free",
        mend=mend,
    )


def kept_for_backward(model: LanguageModel, context: int, precision: str) -> int:
    """Bytes that autograd keeps for one sequence, the weights apart."""
    device = next(model.parameters()).device
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, Tensor] = {}  # held, so that no address is used twice

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = tensor
        return tensor

    tokens = torch.zeros(1, context, dtype=torch.int64, device=device)
    with (
        torch.random.fork_rng(),
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        autocast(device, precision),
    ):
        model.trunk(tokens, None, model.carries_state)
    cast = {tuple(sorted(parameter.shape)) for parameter in model.parameters()}  # weights in the autocast type
    return sum(t.untyped_storage().nbytes() for t in kept.values() if tuple(sorted(t.shape)) not in cast)


def at_rest(config: TrainConfig, n_parameters: int) -> int:
    """Bytes of weights, gradients and what the optimizer keeps."""
    return 4 * n_parameters * (2 + _SLOTS[config.optimizer.kind])
