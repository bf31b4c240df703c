"""Models: causal, equal whether read whole or in pieces, with the loss of the textbook."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from train.batches import IGNORE
from train.config import RecurrentConfig, TransformerConfig
from train.loss import linear_cross_entropy, score, softmax_gradient, softmax_gradient_to_compile
from train.model import build

CONFIGS = {
    "transformer": TransformerConfig(layers=2, d_model=32, heads=4),
    "grouped": TransformerConfig(layers=2, d_model=32, heads=4, kv_heads=2, d_feedforward=48),
    "lstm": RecurrentConfig(kind="lstm", layers=2, d_model=32),
    "gru": RecurrentConfig(kind="gru", layers=1, d_model=32),
    "rnn": RecurrentConfig(kind="rnn", layers=2, d_model=32),
    "normed": TransformerConfig(layers=2, d_model=32, heads=4, qk_norm=True, activation="gelu", document_mask=True),
    "dot": RecurrentConfig(kind="lstm", layers=1, d_model=32, attention="dot", attention_window=5),
    "additive": RecurrentConfig(kind="gru", layers=1, d_model=32, attention="additive", attention_window=3),
}


def model_of(name: str):
    torch.manual_seed(1)
    model = build(CONFIGS[name], 50, context=16).eval()
    for parameter in model.parameters():  # from the small initial weights all logits would be nearly equal
        torch.nn.init.normal_(parameter, std=0.3)
    return model


@pytest.mark.parametrize("name", CONFIGS)
def test_future_tokens_do_not_change_earlier_logits(name):
    model = model_of(name)
    tokens = torch.randint(0, 50, (2, 12))
    with torch.no_grad():
        before, _ = model(tokens)
        for position in range(1, 12):
            changed = tokens.clone()
            changed[:, position] = (changed[:, position] + 1) % 50
            after, _ = model(changed)
            assert torch.equal(before[:, :position], after[:, :position])
            assert not torch.allclose(before[:, position], after[:, position])


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("cuts", [[5, 1, 1, 1], [1] * 8, [3, 5]])
def test_reading_in_pieces_equals_reading_whole(name, cuts):
    model = model_of(name)
    tokens = torch.randint(0, 50, (2, 8))
    with torch.no_grad():
        whole, _ = model(tokens)
        state, pieces = None, []
        for piece in tokens.split(cuts, 1):
            logits, state = model(piece, state)
            pieces.append(logits)
    torch.testing.assert_close(torch.cat(pieces, 1), whole, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["transformer", "normed"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_a_transformer_may_have_weights_of_another_type(name, dtype):
    tokens = torch.randint(0, 50, (2, 9), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, _ = model_of(name)(tokens)
        first, state = model_of(name).to(dtype)(tokens[:, :5])
        second, _ = model_of(name).to(dtype)(tokens[:, 5:], state)
    logits = torch.cat((first, second), 1)
    assert (logits - expected).norm() < 0.1 * expected.norm()


def test_transformer_slides_beyond_its_context():
    """In one layer, each token past the context sees exactly the context - 1 tokens before it, wherever they stand."""
    torch.manual_seed(1)
    model = build(TransformerConfig(layers=1, d_model=32, heads=4), 50, context=6).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    tokens = torch.randint(0, 50, (1, 15))
    state = None
    with torch.no_grad():
        for position in range(15):
            logits, state = model(tokens[:, position : position + 1], state)
            window, _ = model(tokens[:, max(position - 5, 0) : position + 1])
            torch.testing.assert_close(logits[:, -1], window[:, -1], rtol=1e-3, atol=1e-3)
    assert state[0] == 15
    assert state[1][0][0].shape[2] == 5


@pytest.mark.parametrize("name", CONFIGS)
def test_loss_is_the_cross_entropy_of_the_logits(name):
    model = model_of(name)
    tokens, targets = torch.randint(0, 50, (3, 8)), torch.randint(0, 50, (3, 8))
    targets[1, 5:] = IGNORE
    logits, _ = model(tokens)
    expected = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum", ignore_index=IGNORE)
    loss, _ = model(tokens, None, targets)
    torch.testing.assert_close(loss, expected)
    nats, right, _ = model.score(tokens, targets)
    assert nats.sum().item() == pytest.approx(expected.item(), rel=1e-5)
    assert torch.equal(right, logits.argmax(-1) == targets)
    assert not nats[1, 5:].any()


def test_gradients_of_the_fused_loss_are_those_of_autograd(monkeypatch):
    monkeypatch.setattr("train.loss._CACHED", 50 * 4)  # several chunks, the last one shorter
    hidden, weight = torch.randn(3, 7, 16, requires_grad=True), torch.randn(50, 16, requires_grad=True)
    targets = torch.randint(0, 50, (3, 7))
    targets[0, 2:5] = IGNORE
    expected = F.cross_entropy(
        (hidden @ weight.T).flatten(0, 1), targets.flatten(), reduction="sum", ignore_index=IGNORE
    )
    wanted = torch.autograd.grad(expected * 3, [hidden, weight])
    found = torch.autograd.grad(linear_cross_entropy(hidden, weight, targets) * 3, [hidden, weight])
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        rough = linear_cross_entropy(hidden, weight, targets)
    assert rough.dtype == torch.float32
    assert rough.item() == pytest.approx(expected.item(), rel=0.02)
    torch.testing.assert_close(torch.autograd.grad(rough * 3, [hidden, weight]), wanted, rtol=0.05, atol=0.1)
    assert score(hidden, weight, targets)[0].sum().item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_softmax_becomes_its_gradient_in_place(dtype):
    logits, column = 4 * torch.randn(6, 50), torch.randint(0, 50, (6, 1))
    logits[0, column[0]] = -60.0  # so unlikely that fp16 has 0 for it
    known = torch.tensor([[True]] * 4 + [[False]] * 2)
    expected = torch.softmax(logits, -1).scatter_add_(-1, column, torch.full((6, 1), -1.0)) * known
    likely = logits.log_softmax(-1).gather(-1, column)[:4].sum().item()
    near = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}[dtype]
    for softmax in (softmax_gradient, softmax_gradient_to_compile):
        room = torch.empty(6, 64, dtype=dtype)[:, :50].copy_(logits)
        nats = softmax(room, column, known)
        torch.testing.assert_close(room.float(), expected, rtol=near, atol=near)
        assert nats.dtype == torch.float32
        if dtype == torch.float16 and softmax is softmax_gradient:  # counts as the smallest number of the type
            assert likely < nats.item() < math.log(2**-24)
        else:
            assert nats.item() == pytest.approx(likely, rel=near)


def test_targets_of_padding_alone_cost_nothing():
    hidden, weight = torch.randn(4, 16, requires_grad=True), torch.randn(50, 16, requires_grad=True)
    loss = linear_cross_entropy(hidden, weight, torch.full((4,), IGNORE))
    gradients = torch.autograd.grad(loss, [hidden, weight])
    assert loss.item() == 0
    assert all(not gradient.any() for gradient in gradients)


def test_parameters_are_counted_once():
    model = build(TransformerConfig(layers=2, d_model=32, heads=4, d_feedforward=64), 50, context=8)
    assert model.n_parameters == 50 * 32 + 2 * (4 * 32 * 32 + 3 * 32 * 64 + 2 * 32) + 32
