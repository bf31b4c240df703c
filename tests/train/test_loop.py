"""Training: the same bits whatever happens on the way, and a clear refusal of what does not belong together."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.modules.module import register_module_forward_pre_hook

from pipeline.errors import CorpusmillError, UsageError
from pipeline.shards.read import open_shards
from tests.shared import ROOT
from tests.train.conftest import VOCABULARY, language, write_tokens
from train import checkpoint, snapshot
from train.checkpoint import flatten, unflatten
from train.config import TrainConfig
from train.evaluate import load_model
from train.loop import Trainer, _as_begun, _Recorder, train
from train.signals import Stop

MODELS = {
    "lstm": {"kind": "lstm", "layers": 2, "d_model": 32, "dropout": 0.1},
    "transformer": {"kind": "transformer", "layers": 2, "d_model": 32, "heads": 2, "dropout": 0.1},
}


def config_of(kind: str, **changes) -> TrainConfig:
    values = {
        "model": MODELS[kind],
        "steps": 14,
        "batch": 8,
        "context": 16,
        "device": "cpu",
        "log_every": 1,
        "save_every": 4,
        "schedule": {"warmup": 3},
        **changes,
    }
    return TrainConfig.model_validate(values)


def checkpoint_digests(run_dir: Path) -> dict[str, str]:
    saved = checkpoint.latest(run_dir)
    return saved.files.files()


def read_curve(run_dir: Path) -> list[dict[str, str]]:
    with open(run_dir / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


CHILD = """
import json, signal, sys
from train.config import TrainConfig
from train.evaluate import load_model
from train.loop import train

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a shell has sent to the background
config, shards, run = TrainConfig.model_validate_json(sys.argv[1]), sys.argv[2], sys.argv[3]
result = train(config, shards, run, progress=lambda row: print(row["step"], flush=True))
print(json.dumps(result), flush=True)
"""


def run_until(config: TrainConfig, shards_dir: str, run_dir: Path, step: int, number: int) -> tuple[int, list[str]]:
    """Train in a process of its own and send it a signal when it has reported ``step``."""
    command = [sys.executable, "-c", CHILD, config.model_dump_json(), shards_dir, str(run_dir)]
    lines = []
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            lines.append(line)
            if line.strip() == str(step):
                process.send_signal(number)
    return process.returncode, lines


@pytest.mark.slow
@pytest.mark.parametrize("kind", MODELS)
def test_killed_twice_and_resumed_equals_uninterrupted(tmp_path, shards_dir, kind):
    config = config_of(kind, steps=40)
    whole = train(config, shards_dir, str(tmp_path / "whole"))
    for step in (6, 15):
        code, _ = run_until(config, shards_dir, tmp_path / "killed", step, signal.SIGKILL)
        assert code == -signal.SIGKILL
    assert 0 < checkpoint.latest(tmp_path / "killed").step < 40
    resumed = train(config, shards_dir, str(tmp_path / "killed"))
    assert checkpoint_digests(tmp_path / "killed") == checkpoint_digests(tmp_path / "whole")
    for name in ("validation", "unigram", "tokens", "files", "parameters"):
        assert resumed[name] == whole[name]
    curves = [read_curve(tmp_path / run) for run in ("whole", "killed")]
    for row in (*curves[0], *curves[1]):
        for name in ("seconds", "tokens_per_second", "loader_share", "memory_mb"):
            row.pop(name)
    assert curves[0] == curves[1]


@pytest.mark.slow
def test_a_compiled_run_killed_and_resumed_equals_uninterrupted(tmp_path, shards_dir, capfd):
    config = config_of("transformer", model={**MODELS["transformer"], "layers": 1}, compile=True)
    train(config, shards_dir, str(tmp_path / "whole"))
    assert "torch.compile is off" not in capfd.readouterr().err
    assert run_until(config, shards_dir, tmp_path / "killed", 6, signal.SIGKILL)[0] == -signal.SIGKILL
    train(config, shards_dir, str(tmp_path / "killed"))
    assert checkpoint_digests(tmp_path / "killed") == checkpoint_digests(tmp_path / "whole")


def test_a_run_goes_on_compiled_or_not_as_it_began(tmp_path, shards_dir):
    config = config_of("transformer", steps=4)
    train(config, shards_dir, str(tmp_path / "run"))
    saved = checkpoint.latest(tmp_path / "run")
    assert saved.described["compiled"] is False
    assert _as_begun(config, saved).compile is False
    assert _as_begun(config, None).compile is None
    assert _as_begun(config.model_copy(update={"compile": True}), saved).compile is True


def test_sigterm_saves_and_leaves_a_run_that_resumes(tmp_path, shards_dir):
    config = config_of("lstm", steps=40, save_every=40)
    code, lines = run_until(config, shards_dir, tmp_path / "stopped", 3, signal.SIGTERM)
    result = json.loads(lines[-1])
    assert code == 0
    assert not result["finished"]
    assert 3 <= result["step"] < 40
    assert checkpoint.latest(tmp_path / "stopped").step == result["step"]
    assert not (tmp_path / "stopped" / "result.json").exists()
    assert train(config, shards_dir, str(tmp_path / "stopped"))["steps"] == 40
    train(config, shards_dir, str(tmp_path / "whole"))
    assert checkpoint_digests(tmp_path / "stopped") == checkpoint_digests(tmp_path / "whole")


def test_ctrl_c_saves_and_then_interrupts(tmp_path, shards_dir):
    config = config_of("lstm", steps=40, save_every=40)
    code, lines = run_until(config, shards_dir, tmp_path / "stopped", 3, signal.SIGINT)
    assert code == -signal.SIGINT
    assert not any("finished" in line for line in lines)
    assert 3 <= checkpoint.latest(tmp_path / "stopped").step < 40
    train(config, shards_dir, str(tmp_path / "stopped"))
    train(config, shards_dir, str(tmp_path / "whole"))
    assert checkpoint_digests(tmp_path / "stopped") == checkpoint_digests(tmp_path / "whole")


@pytest.fixture
def default_ctrl_c():
    """Python's own way with Ctrl-C, which is ignored in what a shell has sent to the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


def test_a_second_ctrl_c_does_not_wait_for_the_step(default_ctrl_c):
    stop = Stop()
    with contextlib.suppress(KeyError), stop.listening():
        signal.raise_signal(signal.SIGINT)
        assert stop.told
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        raise KeyError  # what ends the context passes


def test_ctrl_c_does_not_wait_while_all_steps_are_saved(default_ctrl_c):
    stop = Stop()
    with stop.listening():
        with pytest.raises(KeyboardInterrupt), stop.saved():
            signal.raise_signal(signal.SIGINT)
        assert not stop.told

    def go_on():
        with stop.listening():
            signal.raise_signal(signal.SIGINT)
            with stop.saved():
                raise AssertionError("what comes after the last save does not begin")

    with pytest.raises(KeyboardInterrupt):
        go_on()


@pytest.mark.parametrize("eval_every", [0, 4])
def test_ctrl_c_ends_an_evaluation_at_once_and_the_run_goes_on(tmp_path, shards_dir, default_ctrl_c, eval_every):
    config = config_of("lstm", steps=8, eval_every=eval_every)
    evaluated = []

    def interrupt(module, arguments):
        if not module.training:
            evaluated.append(module)
            signal.raise_signal(signal.SIGINT)

    with register_module_forward_pre_hook(interrupt), pytest.raises(KeyboardInterrupt):
        train(config, shards_dir, str(tmp_path / "run"))
    assert len(evaluated) == 1
    assert checkpoint.latest(tmp_path / "run").step == (eval_every or 8)
    assert train(config, shards_dir, str(tmp_path / "run"))["finished"]
    train(config, shards_dir, str(tmp_path / "whole"))
    assert checkpoint_digests(tmp_path / "run") == checkpoint_digests(tmp_path / "whole")


@pytest.mark.parametrize("kind", MODELS)
def test_learns_and_reports(tmp_path, shards_dir, kind):
    config = config_of(kind, steps=120, optimizer={"lr": 0.01}, eval_every=50)
    rows: list[dict] = []
    result = train(config, shards_dir, str(tmp_path), progress=rows.append)
    assert result["validation"]["bits_per_byte"] < 0.75 * result["unigram"]["bits_per_byte"]
    assert json.loads((tmp_path / "result.json").read_text()) == result
    assert [row["step"] for row in rows if "validation_loss" not in row] == list(range(1, 121))
    assert [row["step"] for row in rows if "validation_loss" in row] == [50, 100]
    assert all(row.keys() >= {"loss", "lr", "tokens", "steps", "seconds", "tokens_per_second"} for row in rows)
    for path, digest in result["files"].items():
        assert hashlib.sha256((tmp_path / path).read_bytes()).hexdigest() == digest
    assert len(result["files"]) == 4
    assert list((tmp_path / "checkpoints").glob("step-*")) == [tmp_path / result["checkpoint"]]
    assert list((tmp_path / "tensorboard").iterdir())
    assert float(read_curve(tmp_path)[-1]["validation_loss"]) == result["validation"]["loss"]

    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert train(config, shards_dir, str(tmp_path)) == result
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    before.pop(tmp_path / "lock")
    after.pop(tmp_path / "lock")
    assert before == after


@pytest.mark.parametrize("kind", MODELS)
def test_accumulated_micro_batches_equal_the_whole_batch(shards_dir, kind):
    shards = open_shards(shards_dir)
    trained = []
    for micro_batch in (8, 2):
        model = {**MODELS[kind], "dropout": 0.0}
        trainer = Trainer(config_of(kind, model=model, micro_batch=micro_batch, precision="fp32", batch=8), shards)
        last = trainer.batches.steps_per_epoch - 1  # the batch with padding, and the first of the next epoch
        losses = [
            trainer.take_step(trainer.prepare(trainer.batches.batch(step)))["loss"] for step in (0, 1, last, last + 1)
        ]
        trained.append((losses, trainer.model.state_dict()))
    assert trained[0][0] == pytest.approx(trained[1][0], rel=1e-4)
    for name, tensor in trained[0][1].items():
        torch.testing.assert_close(tensor, trained[1][1][name], rtol=1e-2, atol=2e-4)


@pytest.fixture
def finished(tmp_path, shards_dir) -> Path:
    train(config_of("lstm"), shards_dir, str(tmp_path / "run"))
    return tmp_path / "run"


def test_a_run_is_read_while_it_is_trained(finished):
    """Each checkpoint takes the place of the one before, perhaps of the one that is being read."""
    saved = checkpoint.latest(finished)
    weights, described = saved.weights(), saved.described

    def go_on() -> None:
        for step in range(15, 115):
            checkpoint.write(finished, step, weights, {}, described)

    writing = threading.Thread(target=go_on)
    writing.start()
    read = []
    while writing.is_alive():
        read.append(load_model(finished)[1].step)
    writing.join()
    assert read == sorted(read)
    assert load_model(finished)[1].step == 114


def test_run_of_another_configuration_is_refused(finished, shards_dir):
    with pytest.raises(CorpusmillError, match="another configuration") as caught:
        train(config_of("lstm", seed=1), shards_dir, str(finished))
    assert "another name" in caught.value.mend


def test_run_of_other_shards_is_refused(finished, tmp_path):
    other = write_tokens(tmp_path / "o", {s: [language(900, 9)] for s in ("train", "validation")}, VOCABULARY)
    with pytest.raises(CorpusmillError, match="another corpus"):
        train(config_of("lstm"), str(other), str(finished))


def test_checkpoint_of_another_run_is_refused(finished, tmp_path, shards_dir):
    shutil.copytree(finished / "checkpoints", tmp_path / "new" / "checkpoints")
    with pytest.raises(CorpusmillError, match="another configuration"):
        train(config_of("transformer"), shards_dir, str(tmp_path / "new"))


def test_recurrent_checkpoint_of_an_earlier_version_is_refused(finished):
    saved = checkpoint.latest(finished)
    weights = saved.weights()
    assert weights.pop("scale").item() == pytest.approx(32**0.5)
    checkpoint.write(finished, 15, weights, {}, saved.described)
    with pytest.raises(CorpusmillError, match=r"checkpoint of another model(.|\n)*scale"):
        load_model(finished)


def test_corrupt_shard_is_refused(tmp_path, shards_dir):
    folder = shutil.copytree(shards_dir, tmp_path / "shards")
    path = next(folder.glob("train-*"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    with pytest.raises(CorpusmillError, match=rf"{path.name}: shard damaged"):
        train(config_of("lstm"), str(folder), str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("validation", [{}, {"validation": []}])
def test_shards_without_validation_are_refused(tmp_path, validation):
    folder = write_tokens(tmp_path / "s", {"train": [language(300, 1)], **validation}, VOCABULARY)
    with pytest.raises(CorpusmillError, match="validation"):
        train(config_of("lstm"), str(folder), str(tmp_path / "run"))


def cut_weights(folder: Path) -> None:
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-10])


def flip_state(folder: Path) -> None:
    path = folder / "state.safetensors"
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)


def remove_description(folder: Path) -> None:
    (folder / "checkpoint.json").unlink()


def garble_latest(folder: Path) -> None:
    (folder.parent / "latest").write_text("step-00000014")


def swap_description(folder: Path) -> None:
    path = folder / "checkpoint.json"
    path.write_text(path.read_text().replace('"step": 14', '"step": 13'))


@pytest.mark.parametrize("damage", [cut_weights, flip_state, remove_description, garble_latest, swap_description])
def test_damaged_checkpoint_is_refused(finished, shards_dir, damage):
    damage(finished / "checkpoints" / "step-00000014")
    with pytest.raises(CorpusmillError, match="damaged checkpoint") as caught:
        train(config_of("lstm"), shards_dir, str(finished))
    assert "train again" in caught.value.mend


def test_finished_run_whose_checkpoints_are_gone_is_trained_again(finished, shards_dir):
    before = checkpoint_digests(finished)
    shutil.rmtree(finished / "checkpoints")
    assert train(config_of("lstm"), shards_dir, str(finished))["finished"]
    assert checkpoint_digests(finished) == before


def test_nothing_in_a_checkpoint_is_pickled(finished):
    for path in (finished / "checkpoints").rglob("*"):
        assert path.is_dir() or path.suffix in {".json", ".safetensors"} or path.name == "latest"


def test_full_disk_leaves_the_checkpoint_before(finished):
    before = checkpoint_digests(finished)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (20_000, hard)
    )  # Python ignores SIGXFSZ: the write fails as on a full disk
    try:
        with pytest.raises(CorpusmillError, match="step 15 could not be written") as caught:
            checkpoint.write(finished, 15, {"w": torch.zeros(100_000)}, {}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "make room" in caught.value.mend
    assert checkpoint_digests(finished) == before
    assert not list((finished / "checkpoints").glob(".tmp-*"))


@pytest.mark.parametrize(
    ("room", "told"),
    [(400, "the learning curve could not be written"), (60_000, "the checkpoint of step 4 could not be written")],
)
def test_full_disk_while_training_is_told_and_the_run_resumes(tmp_path, shards_dir, room, told):
    code = (
        "import resource, sys; from train.config import TrainConfig; from train.loop import train\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room}))\n"
        "train(TrainConfig.model_validate_json(sys.argv[1]), sys.argv[2], sys.argv[3])"
    )
    config = config_of("lstm")
    (tmp_path / "run").mkdir()
    train(config, shards_dir, str(tmp_path / "whole"))
    shutil.copy(tmp_path / "whole/run.json", tmp_path / "run/run.json")  # larger than the disk that is simulated
    command = [sys.executable, "-c", code, config.model_dump_json(), shards_dir, str(tmp_path / "run")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert told in done.stderr
    assert "make room" in done.stderr
    train(config, shards_dir, str(tmp_path / "run"))
    assert checkpoint_digests(tmp_path / "run") == checkpoint_digests(tmp_path / "whole")


def test_leftovers_of_a_killed_save_do_not_matter(finished):
    folder = finished / "checkpoints"
    (folder / ".tmp-step-00000020").mkdir()
    (folder / ".tmp-step-00000020" / "weights.safetensors").write_bytes(b"half")
    shutil.copytree(folder / "step-00000014", folder / "step-00000020")  # renamed, but never became the latest
    checkpoint.write(finished, 20, {"w": torch.ones(3)}, {"a": None}, {"config": {}})
    saved = checkpoint.latest(finished)
    assert saved.step == 20
    assert saved.weights()["w"].tolist() == [1, 1, 1]
    assert sorted(path.name for path in folder.iterdir()) == ["latest", "step-00000020"]


def test_a_run_killed_before_its_last_deletion_keeps_no_older_checkpoint(finished, shards_dir):
    folder = finished / "checkpoints"
    before = checkpoint_digests(finished)
    shutil.copytree(folder / "step-00000014", folder / "step-00000012")
    (finished / "result.json").unlink()
    train(config_of("lstm"), shards_dir, str(finished))
    assert checkpoint_digests(finished) == before
    assert sorted(path.name for path in folder.iterdir()) == ["latest", "step-00000014"]
    (folder / "latest").write_text("garbled")
    snapshot.sweep(finished)
    assert (folder / "step-00000014").exists()


def test_a_damaged_latest_costs_no_checkpoint(finished, shards_dir):
    folder, config = finished / "checkpoints", config_of("lstm")
    files = train(config, shards_dir, str(finished))["files"]
    sound = (folder / "latest").read_bytes()
    (finished / "result.json").unlink()
    for damaged in (sound.replace(b'"sha256": "', b'"sha256": "0'), sound.replace(b"step-00000014", b"step-00000015")):
        (folder / "latest").write_bytes(damaged)
        with pytest.raises(CorpusmillError, match="damaged checkpoint"):
            train(config, shards_dir, str(finished))
        (folder / "latest").write_bytes(sound)  # as the message says
        assert checkpoint.latest(finished).step == 14
    for damage in (lambda: (folder / "latest").write_bytes(damaged), (folder / "latest").unlink):
        damage()
        shutil.copytree(folder / "step-00000014", folder / "step-00000099")  # whole, but not what its name says
        assert snapshot.repair(finished) == 14
        assert sorted(path.name for path in folder.iterdir()) == ["latest", "step-00000014"]
    assert train(config, shards_dir, str(finished))["files"] == files


def test_second_process_is_kept_out(tmp_path, shards_dir):
    refused = []

    def meanwhile(row):
        with pytest.raises(CorpusmillError, match="another process") as caught:
            train(config_of("lstm"), shards_dir, str(tmp_path))
        refused.append(caught.value)

    train(config_of("lstm", log_every=14), shards_dir, str(tmp_path), progress=meanwhile)
    assert refused


def test_divergence_stops_with_the_documents_named(tmp_path, shards_dir):
    config = config_of("transformer", steps=100, optimizer={"lr": 1e30}, schedule={"warmup": 0})
    with pytest.raises(CorpusmillError, match=r"diverged at step \d+") as caught:
        train(config, shards_dir, str(tmp_path))
    ids = {document.id.hex() for document in open_shards(shards_dir).documents()}
    assert any(number in str(caught.value) for number in ids)
    for tensor in checkpoint.latest(tmp_path).weights().values() if checkpoint.latest(tmp_path) else ():
        assert torch.isfinite(tensor).all()


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_absent_device_is_refused(tmp_path, shards_dir):
    with pytest.raises(UsageError, match="no CUDA device"):
        train(config_of("lstm", device="cuda"), shards_dir, str(tmp_path))


def test_caller_keeps_its_random_numbers(tmp_path, shards_dir):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train(config_of("transformer", steps=2), shards_dir, str(tmp_path))
    assert torch.equal(torch.rand(3), expected)


def test_curve_drops_rows_after_the_checkpoint(finished, shards_dir):
    with open(finished / "metrics.csv", "a") as file:
        file.write("15,1,2,3,4,5,,\n16,99")
    os.unlink(finished / "result.json")
    train(config_of("lstm"), shards_dir, str(finished))
    assert [row["step"] for row in read_curve(finished)] == [*map(str, range(1, 15)), "14"]


leaves = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=5)
nested = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=4) | st.integers(0, 9), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(nested)
def test_structure_survives_json(value):
    structure, tensors = flatten({"x": value, "t": [torch.ones(2), None]})
    found = unflatten(json.loads(json.dumps(structure)), tensors)
    assert found["x"] == value
    assert found["t"][0].tolist() == [1, 1]


@settings(max_examples=20)
@given(st.lists(st.text("ab/", max_size=3), unique=True, max_size=4))
def test_tensors_of_like_names_are_kept_apart(keys):
    value = {key: {"/": torch.tensor(number)} for number, key in enumerate(keys)}
    assert {key: int(part["/"]) for key, part in unflatten(*flatten(value)).items()} == {
        key: number for number, key in enumerate(keys)
    }


@pytest.mark.parametrize("step", [4, 8])
def test_an_evaluation_that_was_not_reached_is_made_up_for(tmp_path, shards_dir, step, monkeypatch):
    config = config_of("lstm", eval_every=4)
    train(config, shards_dir, str(tmp_path / "whole"))
    with monkeypatch.context() as patch:  # ends as a kill does: after the checkpoint, before the evaluation
        evaluate = _Recorder.evaluate

        def end(self: _Recorder, last: bool = False) -> dict[str, float]:
            if self.trainer.step == step:
                raise KeyboardInterrupt
            return evaluate(self, last)

        patch.setattr(_Recorder, "evaluate", end)
        with pytest.raises(KeyboardInterrupt):
            train(config, shards_dir, str(tmp_path / "killed"))
    train(config, shards_dir, str(tmp_path / "killed"))
    whole, killed = (
        [(row["step"], row["validation_loss"]) for row in read_curve(tmp_path / name) if row["validation_loss"]]
        for name in ("whole", "killed")
    )
    assert whole == killed
    assert [step for step, _ in whole] == ["4", "8", "12", "14"]


def test_shards_whose_documents_do_not_end_are_refused(tmp_path):
    tokens = np.arange(2, 40)
    folder = write_tokens(tmp_path / "shards", {"train": [tokens], "validation": [tokens]}, VOCABULARY, eos=False)
    with pytest.raises(CorpusmillError, match="no piece that ends") as caught:
        train(config_of("lstm"), str(folder), str(tmp_path / "run"))
    assert "shards.eos = true" in caught.value.mend
    assert not (tmp_path / "run").exists()
