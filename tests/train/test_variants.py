"""The options of models, optimizers, schedules, precision and processes: each does what it says."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch._dynamo.testing import CompileCounter

from pipeline.errors import CorpusmillError, UsageError
from pipeline.shards.read import open_shards
from tests.shared import ROOT
from tests.train.test_loop import checkpoint_digests, config_of, read_curve
from train import checkpoint, device, ngram, snapshot
from train.checkpoint import flatten
from train.config import RecurrentConfig, RopeScaling, ScheduleConfig, TrainConfig, TransformerConfig
from train.device import compiling_pays, free_of_group, refusal
from train.evaluate import figures
from train.loop import Trainer, train
from train.loss import even
from train.model import build
from train.optim import learning_rate
from train.processes import Group, together
from train.transformer import boundaries, frequencies


def test_documents_do_not_see_each_other():
    config = TransformerConfig(layers=2, d_model=32, heads=4, kv_heads=2, document_mask=True)
    torch.manual_seed(1)
    model = build(config, 50, context=24, eos=7).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    documents = [torch.tensor([7, *torch.randint(8, 50, (n,)).tolist()]) for n in (5, 1, 9)]
    with torch.no_grad():
        together, state = model(torch.cat(documents)[None])
        # rotary positions are relative, so a document alone, from position 0, is the same document
        alone = torch.cat([model(one[None])[0] for one in documents], 1)
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-3)
    assert state[2].shape == (1, 18)


def test_boundaries_cut_rows_and_documents():
    documents = torch.tensor([[0, 0, 1, 1], [1, 2, 2, 3]])
    assert boundaries(documents).tolist() == [0, 2, 4, 5, 7, 8]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="the kernel for sequences of various lengths needs a GPU")
def test_varlen_equals_the_dense_mask():
    torch.manual_seed(0)
    config = TransformerConfig(layers=1, d_model=128, heads=2, kv_heads=1, document_mask=True)
    model = build(config, 50, context=64, eos=0).cuda().bfloat16()
    tokens = torch.randint(0, 20, (3, 64)).cuda()
    with torch.no_grad():
        packed, _ = model.trunk(tokens, None, False)
        dense, _ = model.trunk(tokens, (0, [(torch.zeros(3, 1, 0, 64).cuda().bfloat16(),) * 2], None), False)
    torch.testing.assert_close(packed, dense, rtol=3e-2, atol=3e-2)


def test_stretched_positions():
    plain = frequencies(TransformerConfig(d_model=64, heads=2))
    linear = frequencies(TransformerConfig(d_model=64, heads=2, rope_scaling=RopeScaling(kind="linear", factor=4)))
    ntk = frequencies(TransformerConfig(d_model=64, heads=2, rope_scaling=RopeScaling(kind="ntk", factor=4)))
    torch.testing.assert_close(linear, plain / 4)
    assert ntk[0] == plain[0]
    assert ntk[-1].item() == pytest.approx(plain[-1].item() / 4, rel=1e-5)


def variant(**options) -> torch.nn.Module:
    torch.manual_seed(1)
    return build(RecurrentConfig(**{"kind": "lstm", "layers": 2, "d_model": 16, **options}), 30, context=8)


@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru"])
def test_layer_by_layer_is_the_whole_core(kind):
    """With a variational mask that drops next to nothing, the layers run one by one give what the core gives."""
    plain, layered = variant(kind=kind), variant(kind=kind, variational=True, dropout=1e-12, weight_dropout=1e-12)
    tokens = torch.randint(0, 30, (3, 8))
    _, state = plain(tokens)
    for carried in (None, state):
        expected, after = plain(tokens, carried)
        found, layered_after = layered(tokens, carried)
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(layered_after, after)


def test_variational_dropout_is_one_mask_for_all_tokens():
    model = variant(variational=True, dropout=0.5)
    dropped = model._drop(torch.ones(4, 9, 16))
    assert torch.equal(dropped, dropped[:, :1].expand_as(dropped))
    assert set(dropped.unique().tolist()) == {0.0, 2.0}


def test_weight_and_embedding_dropout_change_training_alone():
    tokens = torch.randint(0, 30, (3, 8))
    for options in ({"weight_dropout": 0.5}, {"embedding_dropout": 0.5}):
        model, plain = variant(**options), variant()
        first, second = model(tokens)[0], model(tokens)[0]
        assert not torch.allclose(first, second)
        torch.testing.assert_close(model.eval()(tokens)[0], plain.eval()(tokens)[0])


def test_whole_words_are_dropped():
    model = variant(embedding_dropout=0.5)
    seen = []
    model._run = lambda x, state: (seen.append(x), (x, None))[1]
    model.trunk(torch.arange(30).repeat(2)[None], None, False)
    kept = seen[0][0].abs().sum(-1) > 0
    assert torch.equal(kept[:30], kept[30:])
    assert 3 < kept[:30].sum() < 27


def test_attention_sees_the_states_of_its_window():
    model = variant(attention="dot", attention_window=3).eval()
    memory, states = torch.randn(2, 2, 16), torch.randn(2, 6, 16)
    mixed, after = model.attention(states, memory)
    torch.testing.assert_close(after, states[:, -3:])
    past = torch.cat((memory, states), 1)
    for t in range(6):
        window = torch.cat((torch.zeros(2, 1, 16), past[:, max(t + 2 - 3, 0) : t + 2]), 1)
        scores = (model.attention.query(states[:, t : t + 1]) @ model.attention.key(window).mT) / 4
        found = (scores.softmax(-1) @ window)[:, 0]
        expected = torch.tanh(F.linear(torch.cat((found, states[:, t]), -1), model.attention.mix.weight))
        torch.testing.assert_close(mixed[:, t], expected)


def test_schedules():
    for kind, middle, end in (("linear", 1.1, 0.2), ("constant", 2.0, 2.0)):
        schedule = ScheduleConfig(kind=kind, warmup=10, final=0.1)
        rates = [learning_rate(step, 101, 2.0, schedule) for step in range(101)]
        assert rates[:10] == pytest.approx([0.2 * n for n in range(1, 11)])
        assert (rates[55], rates[-1]) == (pytest.approx(middle), pytest.approx(end))


OPTIMIZERS = {
    "adam": {"lr": 0.01, "weight_decay": 0.0},
    "sgd": {"lr": 1.0, "momentum": 0.9, "weight_decay": 0.0},
    "rmsprop": {"lr": 0.003, "weight_decay": 0.0},
    "muon": {"lr": 0.01},
}


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_every_optimizer_learns_and_resumes(tmp_path, shards_dir, kind):
    config = config_of("transformer", steps=60, save_every=30, keep=2, optimizer={"kind": kind, **OPTIMIZERS[kind]})
    whole = train(config, shards_dir, str(tmp_path / "run"))
    assert whole["validation"]["loss"] < whole["unigram"]["loss"]
    go_back_one(tmp_path / "run")
    assert train(config, shards_dir, str(tmp_path / "run"))["files"] == whole["files"]


def go_back_one(run) -> None:
    """Damage the newest checkpoint and repair the run."""
    newest, *older = json.loads((run / "checkpoints/latest").read_text())
    assert older
    (run / "checkpoints" / newest["checkpoint"] / "weights.safetensors").write_bytes(b"x")
    assert "damaged checkpoint" in snapshot.check(run)
    assert snapshot.repair(run) == int(older[0]["checkpoint"].removeprefix("step-"))
    assert snapshot.check(run) == ""


VARIANTS = {
    "awd": {"kind": "lstm", "variational": True, "dropout": 0.1, "weight_dropout": 0.2, "embedding_dropout": 0.05},
    "attention": {"kind": "gru", "attention": "dot", "attention_window": 20},
    "bahdanau": {"kind": "rnn", "layers": 1, "attention": "additive", "attention_window": 8},
    "qk": {"kind": "transformer", "heads": 4, "kv_heads": 2, "qk_norm": True, "document_mask": True},
    "gelu": {"kind": "transformer", "heads": 2, "activation": "gelu", "dropout": 0.1},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_every_model_learns_and_resumes_to_the_bit(tmp_path, shards_dir, name):
    model = {"layers": 2, "d_model": 32, **VARIANTS[name]}
    config = config_of("lstm", model=model, steps=60, save_every=30, keep=2, optimizer={"lr": 0.01}, micro_batch=4)
    whole = train(config, shards_dir, str(tmp_path / "run"))
    assert whole["validation"]["loss"] < whole["unigram"]["loss"]
    go_back_one(tmp_path / "run")
    assert train(config, shards_dir, str(tmp_path / "run"))["files"] == whole["files"]


def test_half_precision_scales_its_gradients(tmp_path, shards_dir):
    result = train(config_of("transformer", precision="fp16", steps=30, save_every=10), shards_dir, str(tmp_path))
    assert result["precision"] == "fp16"
    assert result["validation"]["loss"] < 4.1  # ln 61
    assert checkpoint.latest(tmp_path).state()["scaler"]["scale"] > 1


@pytest.mark.parametrize("where", ["blocks.0.feedforward.up.weight", "embedding.weight"])
def test_an_overflow_anywhere_leaves_all_weights_as_they_are(shards_dir, where):
    config = config_of("transformer", optimizer={"kind": "muon", "lr": 0.01}, precision="fp16")
    trainer = Trainer(config, open_shards(shards_dir))
    trainer.take_step(trainer.prepare(trainer.batches.batch(0)))
    scale = trainer._scaler.get_scale()
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    hook = dict(trainer.model.named_parameters())[where].register_hook(lambda gradient: gradient * torch.inf)
    trainer.take_step(trainer.prepare(trainer.batches.batch(1)))
    hook.remove()
    assert trainer.skipped == 1
    assert trainer._scaler.get_scale() == scale / 2
    assert all(torch.equal(value, before[name]) for name, value in trainer.model.state_dict().items())
    assert trainer.take_step(trainer.prepare(trainer.batches.batch(1)))["loss"] > 0


@pytest.mark.parametrize(
    ("model", "steps", "pays"),
    [
        ({"kind": "transformer", "layers": 4, "d_model": 128, "heads": 4}, 2_000, False),
        ({"kind": "transformer", "layers": 4, "d_model": 128, "heads": 4}, 20_000, True),
        ({"kind": "lstm", "layers": 4, "d_model": 128}, 200_000, False),
    ],
)
def test_on_a_cpu_a_long_run_of_a_transformer_is_compiled(model, steps, pays):
    config = config_of("transformer", model=model, steps=steps, batch=12, context=64)
    n_parameters = build(config.model, 65, 64).n_parameters
    assert compiling_pays(config, n_parameters, torch.device("cpu")) is pays
    assert compiling_pays(config, n_parameters, torch.device("cuda"))


@pytest.mark.slow
def test_compiled_training_is_the_same_training(tmp_path, shards_dir, capfd):
    losses = []
    for wanted in (False, True):
        model = {"kind": "transformer", "layers": 1, "d_model": 32, "heads": 2}
        config = config_of("transformer", model=model, compile=wanted, precision="fp32", device="auto")
        trainer = Trainer(config, open_shards(shards_dir))
        if wanted and not trainer.compiled:
            pytest.skip(capfd.readouterr().err)
        losses.append([trainer.take_step(trainer.prepare(trainer.batches.batch(n)))["loss"] for n in range(3)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.slow
def test_without_a_compiler_training_goes_on_and_says_why(shards_dir, tmp_path):
    code = (
        "import sys; from train.loop import *; c = TrainConfig.model_validate_json(sys.argv[1])\n"
        "t = Trainer(c, open_shards(sys.argv[2]))\n"
        "assert not t.compiled; print(t.take_step(t.prepare(t.batches.batch(0)))['loss'])"
    )
    config = config_of("transformer", compile=True).model_dump_json()
    env = {**os.environ, "CXX": "/nowhere/c++", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code, config, shards_dir], cwd=ROOT, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "torch.compile is off: " in done.stderr


def test_memory_that_was_freed_is_kept_for_the_next_step():
    code = (
        "import resource, torch; from train.device import keep_freed_memory\n"
        "def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt * resource.getpagesize()\n"
        "def step(): return [torch.ones(2 << 20) for _ in range(12)] and None\n"
        "keep_freed_memory(); step(); step(); before = faults()\n"
        "for _ in range(10): step()\n"
        "print((faults() - before) / (10 * 12 * 4 * (2 << 20)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 0.1  # of the bytes were filled anew by the kernel; without it, all


@pytest.mark.parametrize("options", [{}, {"kv_heads": 1, "qk_norm": True}, {"activation": "gelu"}])
def test_the_blocks_are_one_graph_compiled_once(shards_dir, options):
    """Traced and run without a compiler: no break, no second graph, and the losses of the blocks as they are."""
    graphs, losses = CompileCounter(), []
    for traced in (False, True):
        model = {"kind": "transformer", "layers": 1, "d_model": 32, "heads": 2, **options}
        trainer = Trainer(config_of("transformer", model=model, precision="fp32"), open_shards(shards_dir))
        if traced:
            through = trainer.model.through
            trainer.model.through = torch.compile(through, backend=graphs, fullgraph=True, dynamic=False)
        losses.append([trainer.take_step(trainer.prepare(trainer.batches.batch(n)))["loss"] for n in range(4)])
    assert graphs.frame_count == 1
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.parametrize(("kind", "precision"), [("lstm", "auto"), ("transformer", "auto"), ("transformer", "fp16")])
def test_steps_taken_without_a_look_are_the_same_steps(shards_dir, kind, precision):
    rows, structures, tensors = [], [], []
    for ahead in (False, True):
        trainer = Trainer(config_of(kind, precision=precision), open_shards(shards_dir))
        trainer.runs_ahead = ahead  # True on a GPU
        for step in range(6):
            trainer.enqueue(trainer.prepare(trainer.batches.batch(step)))
            if step % 3 == 2:
                rows.append(trainer.figures())
        for found, value in zip((structures, tensors), flatten(trainer.state()), strict=True):
            found.append(value)
        tensors[-1].update(trainer.model.state_dict())
    assert rows[:2] == rows[2:]
    assert structures[0] == structures[1]
    assert all(torch.equal(tensor, tensors[1][name]) for name, tensor in tensors[0].items())


def test_a_step_without_a_look_that_is_no_number_changes_nothing_and_is_named(shards_dir):
    trainer = Trainer(config_of("transformer"), open_shards(shards_dir))
    trainer.runs_ahead = True
    for step in range(2):
        trainer.enqueue(trainer.prepare(trainer.batches.batch(step)))
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    through = trainer.model.through
    trainer.model.through = lambda *inputs: through(*inputs) * torch.nan
    trainer.enqueue(trainer.prepare(trainer.batches.batch(2)))
    for name, tensor in trainer.model.state_dict().items():
        assert torch.equal(tensor, before[name])
    with pytest.raises(CorpusmillError, match="diverged at step 3: loss nan") as caught:
        trainer.state()
    starts = trainer.batches.batch(2).starts
    assert trainer.training.document_at(int(starts[0])).id.hex() in str(caught.value)


def test_the_chunks_of_the_output_layer_are_alike():
    for count, most in ((32768, 21000), (32768, 40000), (8192, 66000), (1000, 300), (5, 1), (1, 1000), (0, 500)):
        rows = even(count, most)
        assert 1 <= rows <= max(most, 128)
        assert -(-count // rows) == -(-count // max(most // 128 * 128, 128))
    assert even(32768, 21000) == 16384


def test_only_the_output_layer_of_a_recurrent_model_is_compiled(shards_dir, monkeypatch):
    graphs, compile = CompileCounter(), torch.compile
    monkeypatch.setattr(torch, "compile", lambda part, **options: compile(part, backend=graphs, **options))
    losses = []
    for wanted in (False, True):
        trainer = Trainer(config_of("lstm", compile=wanted, precision="fp32"), open_shards(shards_dir))
        assert trainer.compiled is wanted
        losses.append([trainer.take_step(trainer.prepare(trainer.batches.batch(n)))["loss"] for n in range(3)])
    assert graphs.frame_count == 1
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_without_tensorboard_there_is_the_table(tmp_path, shards_dir, monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    train(config_of("lstm", steps=2), shards_dir, str(tmp_path))
    assert "metrics.csv alone" in capfd.readouterr().err
    assert len(read_curve(tmp_path)) == 3


def test_spikes_are_left_out(shards_dir):
    config = config_of("transformer", steps=100, optimizer={"skip_spikes": 3.0, "lr": 1e-3})
    trainer = Trainer(config, open_shards(shards_dir))
    for step in range(25):
        trainer.take_step(trainer.prepare(trainer.batches.batch(step)))
    assert trainer.skipped == 0
    with torch.no_grad():
        trainer.model.norm.weight.mul_(60)
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    trainer.take_step(trainer.prepare(trainer.batches.batch(25)))
    assert trainer.skipped == 1
    for name, tensor in trainer.model.state_dict().items():
        assert torch.equal(tensor, before[name])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lstm", "transformer"])
def test_two_processes_train_what_one_trains(tmp_path, shards_dir, kind):
    model = dict(config_of(kind).model.model_dump(), dropout=0.0)
    one = config_of(kind, model=model, precision="fp32", steps=12, save_every=6, keep=2)
    two = one.model_copy(update={"processes": 2})
    assert one.digest == two.digest
    alone = train(one, shards_dir, str(tmp_path / "one"))
    shared = train(two, shards_dir, str(tmp_path / "two"))
    curves = [[float(row["loss"]) for row in read_curve(tmp_path / run) if row["loss"]] for run in ("one", "two")]
    assert curves[0] == pytest.approx(curves[1], rel=1e-4)
    assert shared["validation"]["loss"] == pytest.approx(alone["validation"]["loss"], rel=1e-4)
    assert shared["tokens"] == alone["tokens"]
    if kind == "transformer":
        return
    # one process goes on where two stopped, with the same data and the same carried state
    go_back_one(tmp_path / "two")
    resumed = train(one, shards_dir, str(tmp_path / "two"))
    assert resumed["validation"]["loss"] == pytest.approx(alone["validation"]["loss"], rel=1e-4)


def test_processes_must_share_the_batch():
    with pytest.raises(ValidationError, match="2 processes do not share batch 9 evenly \\["):
        config_of("lstm", batch=9, processes=2)


def _killed(group: Group) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_dies_is_named():
    with (
        pytest.raises(CorpusmillError, match="process 1 of the run ended with -9") as caught,
        together(2, "cpu", _killed) as group,
    ):
        group.sum(torch.ones(1))
    assert "resumes" in caught.value.mend


def test_a_process_that_dies_before_it_has_joined_is_named():
    def kill() -> None:
        while not (others := multiprocessing.active_children()):
            pass
        others[0].kill()

    threading.Thread(target=kill).start()  # a process takes seconds to import torch
    with pytest.raises(CorpusmillError, match="process 1 of the run ended with -9"), together(2, "cpu", _killed):
        pass


def test_what_cannot_begin_here_is_refused_before_a_folder_is_made(tmp_path, shards_dir):
    with pytest.raises(UsageError, match="no fp16 for a lstm"):
        train(config_of("lstm", precision="fp16"), shards_dir, str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
    with pytest.raises(ValidationError, match="muon is for"):
        config_of("lstm", optimizer={"kind": "muon"})


def test_a_rate_that_never_falls_is_told(tmp_path, shards_dir, capfd):
    train(config_of("lstm", steps=4), shards_dir, str(tmp_path / "run"))
    assert "schedule.warmup is 3 of 4 steps" in capfd.readouterr().err


def test_how_often_a_run_is_told_and_saved_is_not_what_it_learns():
    one = config_of("lstm")
    for changes in ({"log_every": 7}, {"save_every": 7}, {"eval_every": 7}, {"compile": True}):
        assert config_of("lstm", **changes).digest == one.digest


def test_batch_that_cannot_fit_is_refused_with_one_that_does(shards_dir):
    config = config_of("transformer", batch=2**31, context=16)
    with pytest.raises(CorpusmillError, match="not enough memory: 2147483648 sequences") as caught:
        Trainer(config, open_shards(shards_dir))
    fits = int(caught.value.mend.split()[2])
    assert 1 <= fits < 2**31
    assert 2**31 % fits == 0


def test_the_batch_named_leaves_room_for_a_step_and_is_a_share():
    refused = refusal(config_of("transformer", batch=12, processes=2), 6, 10**9, 13 * 10**9)
    assert refused.mend.startswith("micro_batch = 3 fits")  # 3 GB to keep, 12 GB at most in a step
    config_of("transformer", batch=12, processes=2, micro_batch=3)
    alone = config_of("transformer", batch=12)
    assert refusal(alone, 12, 10**9, 10**9).mend == "micro_batch = 1, or a shorter context or a smaller model"
    assert refusal(alone, 1, 10**9, 10**8).mend == "a shorter context or a smaller model"


def test_a_step_that_runs_out_of_memory_names_a_batch_that_fits(shards_dir):
    """In a process of its own: the address space is closed once the trainer is built."""
    script = f"""
import resource
from pathlib import Path
from pipeline.errors import CorpusmillError
from pipeline.shards.read import open_shards
from tests.train.test_loop import config_of
from train.loop import Trainer

trainer = Trainer(config_of("transformer", batch=256, context=256), open_shards({str(shards_dir)!r}))
batch = trainer.prepare(trainer.batches.batch(0))
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), resource.getrlimit(resource.RLIMIT_AS)[1]))
try:
    trainer.take_step(batch)
except CorpusmillError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert "not enough memory: 256 sequences of 256 tokens at once" in done.stdout, done.stderr
    assert "micro_batch = 128 fits" in done.stdout


def test_files_in_the_cache_of_a_control_group_count_as_free(tmp_path):
    assert free_of_group(tmp_path) is None
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("900\n")
    assert free_of_group(tmp_path) is None
    (tmp_path / "memory.max").write_text("1000\n")
    assert free_of_group(tmp_path) == 100
    (tmp_path / "memory.stat").write_text("anon 300\nfile 600\ninactive_file 500\nactive_file 60\n")
    assert free_of_group(tmp_path) == 660


def test_model_that_cannot_fit_is_refused(shards_dir):
    model = {"kind": "transformer", "layers": 500, "d_model": 32768, "heads": 64}
    with pytest.raises(CorpusmillError, match=r"not enough memory: [\d,]+ parameters"):
        Trainer(config_of("transformer", model=model), open_shards(shards_dir))


@pytest.mark.parametrize("call", ["os.rename", "os.replace"])
def test_killed_in_the_middle_of_a_save(tmp_path, shards_dir, call):
    config = config_of("lstm", steps=12, save_every=3)
    code = (
        "import os, signal, sys; from train import snapshot\n"
        "from train.config import TrainConfig; from train.loop import train\n"
        f"real, seen = {call}, []\n"
        "def deadly(*a, **k):\n"
        "    if any('checkpoints' in str(x) for x in a): seen.append(1)\n"
        "    if len(seen) == 2: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return real(*a, **k)\n"
        f"{call} = deadly\n"
        "train(TrainConfig.model_validate_json(sys.argv[1]), sys.argv[2], sys.argv[3])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, config.model_dump_json(), shards_dir, str(tmp_path / "killed")], cwd=ROOT
    )
    assert done.returncode == -signal.SIGKILL
    train(config, shards_dir, str(tmp_path / "killed"))
    train(config, shards_dir, str(tmp_path / "whole"))
    assert checkpoint_digests(tmp_path / "killed") == checkpoint_digests(tmp_path / "whole")


BOMB = os.path.join(tempfile.gettempdir(), f"corpusmill-bomb-{os.getpid()}")


class Bomb:
    def __reduce__(self):
        return os.mkdir, (BOMB,)


def test_pickle_bomb_is_refused_even_with_its_digests_right(tmp_path, shards_dir):
    config = config_of("lstm", steps=2)
    train(config, shards_dir, str(tmp_path))
    saved = snapshot.latest(tmp_path)
    contents = {"weights.safetensors": pickle.dumps(Bomb()), "state.safetensors": saved.read("state.safetensors")}
    snapshot.write(tmp_path, 2, contents, saved.described)
    os.unlink(tmp_path / "result.json")
    with pytest.raises(CorpusmillError, match="not safetensors"):
        train(config, shards_dir, str(tmp_path))
    assert not os.path.exists(BOMB)


def test_weights_of_another_model_are_refused(tmp_path, shards_dir):
    config = config_of("lstm", steps=2)
    train(config, shards_dir, str(tmp_path))
    saved = checkpoint.latest(tmp_path)
    weights = {name: tensor.repeat(2, *[1] * tensor.dim()) for name, tensor in saved.weights().items()}
    checkpoint.write(tmp_path, 2, weights, saved.state(), saved.described)
    os.unlink(tmp_path / "result.json")
    with pytest.raises(CorpusmillError, match="checkpoint of another model"):
        train(config, shards_dir, str(tmp_path))


def test_presets_and_the_dial_are_starting_points():
    for preset in ("laptop", "laptop-lstm", "gpu", "124m"):
        config = TrainConfig.model_validate({"preset": preset, "steps": 7, "model": {"layers": 3}})
        assert (config.steps, config.model.layers) == (7, 3)
        assert TrainConfig.model_validate(config.model_dump()) == config.model_copy(update={"preset": None})
    assert TrainConfig.model_validate({"preset": "124m"}).model.d_model == 768
    other = TrainConfig.model_validate({"preset": "laptop", "model": {"kind": "gru"}, "optimizer": {"kind": "adamw"}})
    assert other.model == RecurrentConfig(kind="gru")
    deep = TrainConfig.model_validate({"depth": 6, "model": {"qk_norm": True}})
    assert (deep.model.layers, deep.model.d_model, deep.model.heads, deep.model.qk_norm) == (6, 384, 6, True)
    with pytest.raises(ValidationError, match="depth sizes a transformer"):
        TrainConfig.model_validate({"depth": 6, "model": {"kind": "lstm"}})


def test_trigrams_are_probabilities_and_beat_pieces(tmp_path, shards_dir):
    training, validation = open_shards(shards_dir), open_shards(shards_dir, "validation")
    keys = ngram._keys(training.read(0, training.n_tokens).astype("int64"), 0, 61)
    trigrams = ngram.Trigrams(training)
    for context in (keys[5] // 61, 60 * 61 + 60):  # one that was seen, one that was not
        p = trigrams.probability(context * 61 + torch.arange(61).numpy())
        assert p.sum() == pytest.approx(1, rel=1e-9)
        assert (p > 0).all()
    found = figures(ngram.nats(training, validation), validation.n_tokens, validation.n_bytes)
    result = train(config_of("lstm", steps=2), shards_dir, str(tmp_path))
    assert result["ngram"] == found
    assert found["loss"] < 0.7 * result["unigram"]["loss"]


def test_what_a_gpu_computes_in_fp16_is_scaled():
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    lstm, transformer = RecurrentConfig(kind="lstm"), TransformerConfig()
    assert device.needs_scaling(lstm, "bf16", gpu)  # autocast gives recurrent kernels fp16
    assert device.needs_scaling(transformer, "fp16", cpu)
    for model, precision, where in ((lstm, "bf16", cpu), (lstm, "fp32", gpu), (transformer, "bf16", gpu)):
        assert not device.needs_scaling(model, precision, where)


def test_unknown_devices_have_no_peak():
    assert device.peak_of("NVIDIA H100 80GB HBM3") == 989e12
    assert device.peak_of("NVIDIA H100 PCIe") == 756e12
    assert device.peak_of("NVIDIA A100-SXM4-40GB") == 312e12
    for unknown in ("NVIDIA L40", "NVIDIA GeForce RTX 4090 Laptop GPU", "NVIDIA GH200 480GB", "Tesla T4"):
        assert device.peak_of(unknown) is None
    assert device.peak(torch.device("cpu"), "bf16") is None
    assert device.flops_per_token(TransformerConfig(layers=12, d_model=768, heads=12), 124_000_000, 1024) == (
        6 * 124_000_000 + 12 * 12 * 768 * 1024
    )
