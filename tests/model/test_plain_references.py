"""The modules train as the plainest torch that says the same: 20 fp32 steps, loss by loss."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from fwplan.spec import RunSpec
from fwplan.train.step import build_trainer, train_step

STEPS, B, T, V = 20, 3, 24, 61
SIZES = {"n_layer": 3, "n_head": 4, "n_embd": 48, "vocab_size": V, "context_length": T}
MODELS = [
    {"architecture": "gpt2", "bias": True},
    {"architecture": "gpt2", "tied_embeddings": False},
    {"architecture": "llama"},
    {"architecture": "llama", "n_kv_head": 2, "tied_embeddings": True, "rope_theta": 5e5},
    {"architecture": "llama", "n_kv_head": 1, "qk_norm": True, "head_width": 20, "n_hidden": 72, "norm_eps": 1e-6},
    {"architecture": "llama", "n_kv_head": 2, "attention_bias": "qkv"},
    {"architecture": "llama", "attention_bias": "all", "mlp_bias": True},
    {"architecture": "pythia", "n_head": 2},
    {"architecture": "pythia", "rotary_share": 1.0, "tied_embeddings": True},
]


@pytest.mark.parametrize("attention", ["flash", "math"])
@pytest.mark.parametrize("model", MODELS, ids=lambda model: "-".join(map(str, model)))
def test_20_steps_have_the_losses_of_a_plain_reference(model, attention):
    spec = RunSpec.model_validate(
        {
            "model": SIZES | model,
            "train": {
                "micro_batch_size": B, "dtype": "float32", "compile": False, "attention": attention,
                "learning_rate": 3e-3, "grad_accum_steps": 2,
            },
            "device": {"type": "cpu"},
        }
    )  # fmt: skip
    torch.manual_seed(3)
    trainer = build_trainer(spec, torch.device("cpu"))
    weights = {name: p.detach().clone().requires_grad_() for name, p in trainer.model.named_parameters()}
    optimizer = torch.optim.AdamW(
        [
            {"params": [w for w in weights.values() if w.dim() > 1], "weight_decay": 0.1},
            {"params": [w for w in weights.values() if w.dim() == 1], "weight_decay": 0.0},
        ],
        lr=3e-3, betas=(0.9, 0.95), foreach=False,
    )  # fmt: skip
    batches = [torch.randint(V, (B, T + 1), generator=torch.Generator().manual_seed(seed)) for seed in (1, 2)]
    for step in range(STEPS):
        ours = train_step(trainer, [(batch[:, :-1], batch[:, 1:]) for batch in batches])
        plain = 0.0
        for batch in batches:
            logits = LOGITS[spec.model.architecture](spec.model, weights, batch[:, :-1])
            loss = F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten()) / 2
            loss.backward()
            plain += loss.item()
        torch.nn.utils.clip_grad_norm_(weights.values(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        assert ours.item() == pytest.approx(plain, abs=1e-5), step
    assert plain < 4.0  # it has learnt something: ln(61) is 4.11


def _gpt2(model, w, idx):
    x = w["trunk.wte.weight"][idx] + w["trunk.wpe.weight"][: idx.size(1)]
    for i in range(model.n_layer):
        at = f"trunk.h.{i}"
        q, k, v = _linear(w, f"{at}.attn.c_attn", _layer_norm(w, f"{at}.ln_1", x)).chunk(3, dim=-1)
        q, k, v = (_heads(part, model.n_head) for part in (q, k, v))
        x = x + _linear(w, f"{at}.attn.c_proj", _attention(q, k, v))
        hidden = _linear(w, f"{at}.mlp.c_fc", _layer_norm(w, f"{at}.ln_2", x))
        x = x + _linear(w, f"{at}.mlp.c_proj", _gelu(hidden))
    return _layer_norm(w, "trunk.ln_f", x) @ _head(model, w).T


def _llama(model, w, idx):
    H, G = model.n_head, model.n_kv_head or model.n_head
    x = w["trunk.embed_tokens.weight"][idx]
    for i in range(model.n_layer):
        at = f"trunk.layers.{i}"
        normed = _rms_norm(x, w[f"{at}.input_layernorm.weight"], model.norm_eps)
        q, k, v = (_linear(w, f"{at}.self_attn.{name}_proj", normed) for name in "qkv")
        q, k, v = _heads(q, H), _heads(k, G), _heads(v, G)
        if model.qk_norm:
            q = _rms_norm(q, w[f"{at}.self_attn.q_norm.weight"], model.norm_eps)
            k = _rms_norm(k, w[f"{at}.self_attn.k_norm.weight"], model.norm_eps)
        q, k = (_rotated(part, part.size(-1), model.rope_theta) for part in (q, k))
        k, v = (torch.stack([part[:, h * G // H] for h in range(H)], dim=1) for part in (k, v))
        x = x + _linear(w, f"{at}.self_attn.o_proj", _attention(q, k, v))
        normed = _rms_norm(x, w[f"{at}.post_attention_layernorm.weight"], model.norm_eps)
        gate, up = _linear(w, f"{at}.mlp.gate_proj", normed), _linear(w, f"{at}.mlp.up_proj", normed)
        x = x + _linear(w, f"{at}.mlp.down_proj", gate * torch.sigmoid(gate) * up)
    return _rms_norm(x, w["trunk.norm.weight"], model.norm_eps) @ _head(model, w).T


def _pythia(model, w, idx):
    x = w["trunk.embed_in.weight"][idx]
    for i in range(model.n_layer):
        at = f"trunk.layers.{i}"
        qkv = _heads(
            _linear(w, f"{at}.attention.query_key_value", _layer_norm(w, f"{at}.input_layernorm", x)), model.n_head
        )
        D = model.n_embd // model.n_head
        q, k, v = qkv[..., :D], qkv[..., D : 2 * D], qkv[..., 2 * D :]
        q, k = (_rotated(part, int(D * model.rotary_share), model.rope_theta) for part in (q, k))
        attended = _linear(w, f"{at}.attention.dense", _attention(q, k, v))
        hidden = _linear(w, f"{at}.mlp.dense_h_to_4h", _layer_norm(w, f"{at}.post_attention_layernorm", x))
        x = x + attended + _linear(w, f"{at}.mlp.dense_4h_to_h", _gelu(hidden))
    return _layer_norm(w, "trunk.final_layer_norm", x) @ _head(model, w).T


LOGITS = {"gpt2": _gpt2, "llama": _llama, "pythia": _pythia}


def _head(model, w):
    return w[model.embedding if model.tied_embeddings else model.head]


def _linear(w, name, x):
    return x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", 0.0)


def _layer_norm(w, name, x):
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    return scaled * w[f"{name}.weight"] + w.get(f"{name}.bias", 0.0)


def _rms_norm(x, weight, eps):
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * weight


def _gelu(x):
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def _heads(x, count):
    """(B, T, count * D) -> (B, count, T, D)."""
    return x.view(*x.shape[:2], count, -1).transpose(1, 2)


def _attention(q, k, v):
    """(B, H, T, D) each -> (B, T, H * D)."""
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))
    T = q.size(-2)
    scores = scores.masked_fill(torch.ones(T, T).triu(1).bool(), -math.inf)
    return (torch.softmax(scores, dim=-1) @ v).transpose(1, 2).flatten(2)


def _rotated(x, width, theta):
    """The first `width` elements of each head, as complex numbers i and i + width / 2, turned."""
    half = width // 2
    angle = torch.arange(x.size(-2))[:, None] * theta ** (-2 * torch.arange(half) / width)
    turned = torch.complex(x[..., :half], x[..., half:width]) * torch.polar(torch.ones_like(angle), angle)
    return torch.cat((turned.real, turned.imag, x[..., width:]), dim=-1)
