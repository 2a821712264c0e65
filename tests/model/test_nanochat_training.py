"""nanochat's module trains as the plainest torch that says the same: 20 fp32 steps, loss by loss."""

import math

import pytest
import torch
import torch.nn.functional as F

from fwplan.spec import RunSpec
from fwplan.train.precision import in_their_types
from fwplan.train.step import build_trainer, train_step

STEPS, B, T, V = 20, 2, 150, 61  # the shortest window is 128 tokens; 61 logits are cut from 64
SIZES = {"architecture": "nanochat", "n_layer": 4, "n_head": 4, "n_embd": 32, "vocab_size": V, "context_length": T}
MODELS = {
    "windows": {"window_pattern": "SSL"},
    "grouped": {"n_kv_head": 2, "n_layer": 3},
    "one layer": {"n_layer": 1, "window_pattern": "S"},
}


def spec_of(attention="flash", **model):
    train = {
        "micro_batch_size": B, "dtype": "float32", "compile": False, "attention": attention, "learning_rate": 3e-3,
    }  # fmt: skip
    return RunSpec.model_validate({"model": SIZES | model, "train": train, "device": {"type": "cpu"}})


@pytest.mark.parametrize("attention", ["flash", "math"])
@pytest.mark.parametrize("model", MODELS)
def test_20_steps_have_the_losses_of_a_plain_reference(model, attention):
    spec = spec_of(attention, **MODELS[model])
    torch.manual_seed(3)
    trainer = build_trainer(spec, torch.device("cpu"))
    with torch.no_grad():  # a start without zeros, from which AdamW would divide rounding by rounding
        for weight in trainer.model.parameters():
            weight.add_(torch.randn_like(weight), alpha=0.02)
    weights = {name: p.detach().clone().requires_grad_() for name, p in trainer.model.named_parameters()}
    optimizer = torch.optim.AdamW(
        [
            {"params": [w for w in weights.values() if w.dim() > 1], "weight_decay": 0.1},
            {"params": [w for w in weights.values() if w.dim() == 1], "weight_decay": 0.0},
        ],
        lr=3e-3, betas=(0.9, 0.95), foreach=False,
    )  # fmt: skip
    batch = torch.randint(V, (B, T + 1), generator=torch.Generator().manual_seed(1))
    for step in range(STEPS):
        ours = train_step(trainer, [(batch[:, :-1], batch[:, 1:])])
        loss = F.cross_entropy(plain_logits(spec.model, weights, batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights.values(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        assert ours.item() == pytest.approx(loss.item(), abs=1e-5), step
    assert loss < 0.9 * math.log(V)  # it has learned


def plain_logits(model, w, idx):
    x = _norm(w["trunk.wte.weight"][idx])
    share = w["trunk.smear_lambda"] * torch.sigmoid(x[:, 1:, :24] @ w["trunk.smear_gate.weight"].T)
    first = x = x + F.pad(share * x[:, :-1], (0, 0, 1, 0))
    for layer in range(model.n_layer):
        x = w["trunk.resid_lambdas"][layer] * x + w["trunk.x0_lambdas"][layer] * first
        own = {name.removeprefix(f"trunk.h.{layer}."): weight for name, weight in w.items()}
        x = x + _attention(model, own, _norm(x), idx, layer)
        x = x + _linear(own, "mlp.c_proj", torch.relu(_linear(own, "mlp.c_fc", _norm(x))) ** 2)
        if layer == model.n_layer // 2:
            middle = x
    logits = _norm(x - w["trunk.backout_lambda"] * middle) @ w["lm_head.weight"].T
    return 15 * torch.tanh(logits[..., :V] / 15)


def _attention(model, w, x, idx, layer):
    D, groups = model.n_embd // model.n_head, model.n_kv_head or model.n_head
    q, k, v = (_linear(w, f"attn.c_{name}", x).unflatten(2, (-1, D)).transpose(1, 2) for name in "qkv")
    if (model.n_layer - 1 - layer) % 2 == 0:
        gates = 3 * torch.sigmoid(_linear(w, "attn.ve_gate", x[..., :12]))
        v = v + gates.transpose(1, 2)[..., None] * w["value_embed.weight"][idx].unflatten(2, (-1, D)).transpose(1, 2)
    q, k = 1.2 * _norm(_turned(q)), 1.2 * _norm(_turned(k))
    k, v = (y.repeat_interleave(model.n_head // groups, dim=1) for y in (k, v))
    back = torch.arange(T)[:, None] - torch.arange(T)  # how far a key lies behind its query
    last = layer == model.n_layer - 1
    reach = T if last or model.window_pattern[layer % len(model.window_pattern)] == "L" else 128
    scores = (q @ k.transpose(2, 3) / math.sqrt(D)).masked_fill((back < 0) | (back > reach), -math.inf)
    return _linear(w, "attn.c_proj", (torch.softmax(scores, dim=-1) @ v).transpose(1, 2).flatten(2))


def _linear(w, name, x):
    return x @ w[f"{name}.weight"].T


def _norm(x):
    return x / (x.square().mean(-1, keepdim=True) + torch.finfo(torch.float32).eps).sqrt()


def _turned(x):
    """Halves of each head as one complex number, turned back by its position's angle."""
    half = x.size(-1) // 2
    angle = torch.arange(T)[:, None] * 100_000.0 ** (-torch.arange(half) / half)
    turned = torch.complex(x[..., :half], x[..., half:]) * torch.polar(torch.ones_like(angle), -angle)
    return torch.cat((turned.real, turned.imag), dim=-1)


@pytest.mark.parametrize(
    ("dtype", "embeddings", "others"),
    [
        ("float32", torch.float32, torch.float32),
        ("bfloat16", torch.bfloat16, torch.float32),
        ("float16", torch.float32, torch.float32),
        ("pure_bfloat16", torch.bfloat16, torch.bfloat16),
    ],
)
def test_embeddings_are_as_narrow_as_products_but_in_fp16(dtype, embeddings, others):
    spec = spec_of()
    spec = spec.model_copy(update={"train": spec.train.model_copy(update={"dtype": dtype})})
    trainer = build_trainer(spec, torch.device("cpu"))
    for name, weight in trainer.model.named_parameters():
        assert weight.dtype == (embeddings if "wte" in name or "value_embed" in name else others), name
    products = torch.float16 if dtype == "float16" else embeddings
    assert {table.dtype for table in trainer.model.buffers()} == {products}
    assert in_their_types(trainer.model, spec) is trainer.model
    batch = torch.randint(V, (B, T))
    losses = [train_step(trainer, [(batch, batch)]).item() for _ in range(3)]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    "recipe",
    [
        {"loss": "chunked"},
        {"returns_logits": True},
        {"checkpointing": "block", "checkpoint_every": 2},
    ],
)
def test_a_recipe_that_does_not_suit_nanochat_is_refused(recipe):
    with pytest.raises(ValueError, match="nanochat"):
        RunSpec.model_validate({"model": SIZES, "train": {"micro_batch_size": 1} | recipe})
