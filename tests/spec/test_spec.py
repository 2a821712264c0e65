import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fwplan.errors import FwplanError
from fwplan.spec import ModelSpec, RunSpec, TrainSpec, parse_spec

MINIMAL = {"model": {"n_layer": 12, "n_head": 12, "n_embd": 768}, "train": {"micro_batch_size": 16}}


def _with(section, **fields):
    return MINIMAL | {section: MINIMAL.get(section, {}) | fields}


def test_only_the_shape_and_the_micro_batch_are_required():
    spec = parse_spec(MINIMAL, "spec.json")
    assert spec.model.vocab_size == 50_304
    assert spec.train.dtype == "bfloat16"
    assert spec.tokens_per_step == 16 * 1024
    assert spec.steps is None
    assert spec.total_tokens is None
    for section, field in (
        ("model", "n_layer"),
        ("model", "n_head"),
        ("model", "n_embd"),
        ("train", "micro_batch_size"),
    ):
        document = json.loads(json.dumps(MINIMAL))
        del document[section][field]
        with pytest.raises(FwplanError, match=f"{section}.{field}"):
            parse_spec(document, "spec.json")


def test_the_contract_of_the_readme_is_read():
    document = {
        "schema_version": 1,
        "model": {
            "architecture": "gpt2", "n_layer": 12, "n_head": 12, "n_embd": 768, "vocab_size": 50304,
            "context_length": 1024, "bias": False, "tied_embeddings": True, "dropout": 0.0,
        },
        "train": {
            "micro_batch_size": 16, "sequence_length": None, "grad_accum_steps": 32, "dtype": "bfloat16",
            "compile": True, "attention": "flash", "loss": "full", "loss_chunk_tokens": None, "returns_logits": False,
            "keeps_logits": False, "checkpointing": "none", "checkpoint_every": 1, "optimizer": "adamw",
            "optimizer_impl": "fused", "grad_clip": 1.0, "eval_micro_batch_size": None, "world_size": 1,
            "parallel": "none", "max_steps": 19074, "max_tokens": None, "learning_rate": 6e-4,
        },
        "device": {"type": "cuda", "name": "RTX 4070", "total_bytes": 12582912000, "in_use_bytes": 0},
        "data": {"path": "fineweb", "tokens": 3680000000},
    }  # fmt: skip
    spec = parse_spec(document, "spec.json")
    assert spec.tokens_per_step == 524_288
    assert spec.total_tokens == 19_074 * 524_288
    assert parse_spec(spec.model_dump(mode="json"), "again") == spec


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (_with("model", n_embd=512), "n_embd 512 is not divisible by n_head 12"),
        (_with("model", n_layers=12), "unknown key 'model.n_layers'"),
        (_with("train", micro_batch_size=-1), "train.micro_batch_size"),
        (_with("train", micro_batch_size=1.5), "train.micro_batch_size"),
        (_with("train", micro_batch_size=True), "train.micro_batch_size"),
        (_with("train", dtype="int8"), "train.dtype"),
        (_with("train", max_steps=5, max_tokens=5), "max_steps or max_tokens, not both"),
        (_with("train", keeps_logits=True), "keeps_logits needs returns_logits"),
        (_with("train", loss="chunked", returns_logits=True), "cannot return them"),
        (_with("train", loss_chunk_tokens=8), "loss_chunk_tokens needs loss"),
        (_with("train", world_size=8), "world_size 8 needs parallel"),
        (_with("train", sequence_length=2048), "exceeds model.context_length"),
        (_with("train", learning_rate=float("nan")), "train.learning_rate"),
        (_with("train", seed=10**400), "(got 1000"),
        (MINIMAL | {"model": "x"}, "model: Input should be an object (got 'x')"),
        (MINIMAL | {"colour": "red"}, "unknown key 'colour'"),
        (MINIMAL | {"schema_version": 3}, "made by a newer fwplan"),
        ([], "RunSpec"),
        ("text", "RunSpec"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(document, said):
    with pytest.raises(FwplanError) as caught:
        parse_spec(document, "my/spec.json")
    assert said in str(caught.value)
    assert caught.value.where == "my/spec.json"
    assert caught.value.hint
    assert len(caught.value.message) < 200


def test_specs_are_frozen():
    spec = parse_spec(MINIMAL, "x")
    with pytest.raises(ValidationError):
        spec.train.micro_batch_size = 8


@given(st.integers(1, 64), st.integers(1, 64), st.integers(1, 10**9))
def test_steps_round_up(micro_batch, accumulation, tokens):
    spec = RunSpec(
        model=ModelSpec(n_layer=1, n_head=1, n_embd=8, context_length=16),
        train=TrainSpec(micro_batch_size=micro_batch, grad_accum_steps=accumulation, max_tokens=tokens),
    )
    assert spec.total_tokens >= tokens > spec.total_tokens - spec.tokens_per_step


@given(st.integers(1, 300), st.integers(1, 4000))
def test_heads_that_do_not_divide_are_refused_with_ones_that_do(heads, width):
    if width % heads == 0:
        assert ModelSpec(n_layer=1, n_head=heads, n_embd=width).n_head == heads
        return
    with pytest.raises(ValidationError) as caught:
        ModelSpec(n_layer=1, n_head=heads, n_embd=width)
    advised = caught.value.errors()[0]["msg"].split("n_head ")[-1].split(" would")[0].split(" or ")
    assert all(width % int(h) == 0 for h in advised)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"learning_rate": 1e-4, "min_lr": 1e-3}, "min_lr 0.001 is above learning_rate 0.0001"),
        ({"max_steps": 10, "warmup_steps": 11}, "warmup_steps 11 go beyond the end: the run has 10 steps"),
        ({"max_tokens": 10 * 16 * 1024, "warmup_steps": 11}, "the run has 10 steps"),
    ],
)
def test_a_learning_rate_that_cannot_be_meant_is_refused(recipe, message):
    with pytest.raises(FwplanError, match=message):
        parse_spec(_with("train", **recipe), "spec.json")


def test_a_learning_rate_may_be_constant_and_warm_up_to_the_end():
    train = {"learning_rate": 1e-4, "min_lr": 1e-4, "max_steps": 10, "warmup_steps": 10}
    assert parse_spec(_with("train", **train), "spec.json").steps == 10
    assert parse_spec(_with("train", warmup_steps=10**6), "spec.json").steps is None
