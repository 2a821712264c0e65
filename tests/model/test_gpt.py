"""The bundled GPT: its size, its ties, its causality, and that options that save memory do not change its gradients."""

from __future__ import annotations

import pytest
import torch

from fwplan.model.modules import build_model
from fwplan.spec import RunSpec


def _spec(model=None, **train):
    return RunSpec.model_validate(
        {
            "model": {"n_layer": 3, "n_head": 2, "n_embd": 16, "vocab_size": 40, "context_length": 12, **(model or {})},
            "train": {"micro_batch_size": 2, "dtype": "float32", "compile": False, **train},
        }
    )


def _gpt(spec, seed=1):
    torch.manual_seed(seed)
    return build_model(spec)


def _batch(spec, seed=2):
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(spec.model.vocab_size, (2, spec.sequence_length + 1), generator=generator)
    return tokens[:, :-1], tokens[:, 1:]


def _gradients(spec, seed=5):
    model = _gpt(spec)
    torch.manual_seed(seed)
    loss = model(*_batch(spec))
    loss.backward()
    return loss.detach(), {name: p.grad for name, p in model.named_parameters()}


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(("L", "C", "V", "T"), [(1, 8, 11, 4), (3, 16, 40, 12)])
def test_parameter_count(bias, tied, L, C, V, T):
    model = {"n_layer": L, "n_embd": C, "vocab_size": V, "context_length": T, "bias": bias, "tied_embeddings": tied}
    per_block = 12 * C * C + 2 * C + (3 * C + C + 4 * C + C + 2 * C if bias else 0)
    expected = V * C + T * C + L * per_block + C + (C if bias else 0) + (0 if tied else V * C)
    assert sum(p.numel() for p in _gpt(_spec(model)).parameters()) == expected


def test_tied_head_is_the_embedding_and_an_untied_one_is_not():
    tied, untied = _gpt(_spec()), _gpt(_spec({"tied_embeddings": False}))
    assert tied.lm_head.weight.data_ptr() == tied.trunk.wte.weight.data_ptr()
    assert untied.lm_head.weight.data_ptr() != untied.trunk.wte.weight.data_ptr()


def test_tie_survives_a_change_of_dtype():
    model = _gpt(_spec()).to(torch.bfloat16)
    assert model.lm_head.weight is model.trunk.wte.weight


def test_no_token_sees_a_later_one():
    spec = _spec()
    model = _gpt(spec)
    idx, _ = _batch(spec)
    changed = idx.clone()
    changed[:, 7:] = (changed[:, 7:] + 1) % spec.model.vocab_size
    before, after = model.logits(idx), model.logits(changed)
    torch.testing.assert_close(before[:, :7], after[:, :7], rtol=0, atol=1e-6)
    assert not torch.allclose(before[:, 7:], after[:, 7:], atol=1e-3)


def test_an_untrained_model_knows_nothing():
    spec = _spec({"vocab_size": 4000})
    loss = _gpt(spec)(*_batch(spec))
    assert loss.item() == pytest.approx(torch.log(torch.tensor(4000.0)).item(), abs=0.1)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("every", [1, 2])
def test_checkpointing_changes_no_gradient(dropout, every):
    # dropout must be redrawn as it was: the recomputed forward has to be the first one again
    loss, gradients = _gradients(_spec({"dropout": dropout}))
    again, recomputed = _gradients(_spec({"dropout": dropout}, checkpointing="block", checkpoint_every=every))
    assert torch.equal(loss, again)
    for name, gradient in gradients.items():
        assert torch.equal(gradient, recomputed[name]), name


@pytest.mark.parametrize(("every", "forwards"), [(1, [2, 2, 2]), (2, [2, 1, 2]), (3, [2, 1, 1])])
def test_every_nth_block_is_recomputed_in_training_only(every, forwards):
    spec = _spec(checkpointing="block", checkpoint_every=every)
    model, counts = _gpt(spec), [0, 0, 0]

    def count(module, _inputs):
        counts[list(model.trunk.h).index(module)] += 1

    for block in model.trunk.h:
        block.register_forward_pre_hook(count)
    model(*_batch(spec)).backward()
    assert counts == forwards
    model.eval()
    model(*_batch(spec)).backward()
    assert counts == [n + 1 for n in forwards]


def test_dropout_matters_in_training_only():
    spec = _spec({"dropout": 0.5})
    model = _gpt(spec)
    assert model(*_batch(spec)) != model(*_batch(spec))
    model.eval()
    assert model(*_batch(spec)) == model(*_batch(spec))


@pytest.mark.parametrize("tied", [False, True])
def test_chunked_loss_gives_the_same_gradients(tied):
    model = {"tied_embeddings": tied}
    loss, gradients = _gradients(_spec(model))
    chunked, others = _gradients(_spec(model, loss="chunked", loss_chunk_tokens=7))
    torch.testing.assert_close(loss, chunked, rtol=1e-6, atol=1e-6)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, others[name], rtol=1e-4, atol=1e-7, msg=name)


def test_math_attention_gives_the_same_gradients():
    _, flash = _gradients(_spec(attention="flash"))
    _, math = _gradients(_spec(attention="math"))
    for name, gradient in flash.items():
        torch.testing.assert_close(gradient, math[name], rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("loss", ["full", "chunked"])
def test_bf16_autocast_stays_near_float32(loss):
    spec = _spec(loss=loss)
    model, batch = _gpt(spec), _batch(spec)
    exact = model(*batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = model(*batch)
    assert rounded.dtype == torch.float32
    assert rounded.item() == pytest.approx(exact.item(), rel=5e-3)
    assert rounded.item() != exact.item()  # else autocast was not on
