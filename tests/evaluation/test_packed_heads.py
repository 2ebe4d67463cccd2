import pytest
import torch
from torch import nn

from raybench.evaluation.feature_norm import with_ones
from raybench.evaluation.packed_heads import BETAS, MOMENTUM, PackedHeads

CELLS = [(0.3, 0.0), (0.03, 0.01), (1.0, 0.1)]
CPU = torch.device("cpu")


def batches(num=12, num_features=7, num_classes=4):
    generator = torch.Generator().manual_seed(1)
    for _ in range(num):
        yield (
            torch.randn(16, num_features, generator=generator),
            torch.randint(num_classes, (16,), generator=generator),
        )


def packed(cells, solver, seed=0):
    heads = PackedHeads(7, 4, cells, solver=solver, seed=seed, device=CPU)
    for step, (features, targets) in enumerate(batches()):
        heads.step(with_ones(features), targets, lr_factor=1 - step / 20)
    return heads


def one_linear_layer(lr, decay, solver):
    """The same head by torch's autograd and optimisers."""
    start = PackedHeads(7, 4, [(lr, decay)], solver=solver, seed=0, device=CPU).head(0)
    layer = nn.Linear(7, 4)
    layer.weight.data, layer.bias.data = start[:-1].T.contiguous(), start[-1].clone()
    groups = [
        {"params": [layer.weight], "weight_decay": decay},
        {"params": [layer.bias], "weight_decay": 0.0},
    ]
    if solver == "sgd":
        optimizer = torch.optim.SGD(groups, lr=lr, momentum=MOMENTUM)
    else:
        optimizer = torch.optim.AdamW(groups, lr=lr, betas=BETAS)
    for step, (features, targets) in enumerate(batches()):
        for group in optimizer.param_groups:
            group["lr"] = lr * (1 - step / 20)
        optimizer.zero_grad()
        nn.functional.cross_entropy(layer(features), targets).backward()
        optimizer.step()
    return torch.cat([layer.weight.T, layer.bias[None]]).detach()


@pytest.mark.parametrize("solver", ["adamw"])
@pytest.mark.parametrize("index", range(len(CELLS)))
def test_adamw_equals_torchs_on_each_head(solver, index):
    head = packed(CELLS, solver).head(index)
    torch.testing.assert_close(head, one_linear_layer(*CELLS[index], solver), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("index", range(len(CELLS)))
def test_sgd_equals_torchs_on_each_head(index):
    # With a schedule torch multiplies the velocity by the rate of the step, as here.
    head = packed(CELLS, "sgd").head(index)
    torch.testing.assert_close(head, one_linear_layer(*CELLS[index], "sgd"), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("solver", ["sgd", "adamw"])
@pytest.mark.parametrize("index", range(len(CELLS)))
def test_a_head_trained_alone_equals_its_column_in_the_grid(solver, index):
    alone = packed([CELLS[index]], solver).head(0)
    torch.testing.assert_close(alone, packed(CELLS, solver).head(index), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("solver", ["sgd", "adamw"])
def test_the_same_seed_gives_the_same_last_bit_and_another_seed_another_start(solver):
    assert torch.equal(packed(CELLS, solver).weights, packed(CELLS, solver).weights)
    assert not torch.equal(packed(CELLS, solver).weights, packed(CELLS, solver, seed=1).weights)


def test_all_heads_start_alike():
    heads = PackedHeads(7, 4, CELLS, solver="sgd", seed=3, device=CPU)
    assert torch.equal(heads.head(0), heads.head(2))
    assert heads.head(0)[-1].tolist() == [0.0] * 4


def test_logits_are_those_of_each_head():
    heads = packed(CELLS, "sgd")
    features = with_ones(next(iter(batches()))[0])
    assert heads.logits(features).shape == (16, 4, 3)
    torch.testing.assert_close(heads.logits(features)[:, :, 1], features @ heads.head(1))
