"""What --set takes: every field of the table, checked by itself, and what it says of the mode."""

import pytest

import fwplan
from fwplan.errors import ExitCode, FwplanError
from fwplan.planning.pins import parse_pins
from fwplan.spec.flat import flat


@pytest.mark.parametrize(
    ("setting", "pins"),
    [
        ("micro_batch_size=8", {"micro_batch_size": 8}),
        ("train.micro_batch_size=8", {"micro_batch_size": 8}),
        ("model.bias = true", {"bias": True}),
        ("compile=False", {"compile": False}),
        ("dropout=0.1", {"dropout": 0.1}),
        ("checkpointing=none", {"checkpointing": "none"}),
        ("eval_micro_batch_size=null", {"eval_micro_batch_size": None}),
        ("checkpoint_every=3", {"checkpoint_every": 3, "checkpointing": "block"}),
        ("loss_chunk_tokens=512", {"loss_chunk_tokens": 512, "loss": "chunked"}),
        ("returns_logits=true", {"returns_logits": True, "loss": "full"}),
        ("returns_logits=false", {"returns_logits": False}),
        ("keeps_logits=true", {"keeps_logits": True, "returns_logits": True, "loss": "full"}),
    ],
)
def test_a_setting_is_read(setting, pins):
    assert parse_pins([setting]) == pins


def test_what_is_said_wins_over_what_it_implies():
    assert parse_pins(["checkpoint_every=3", "checkpointing=none"])["checkpointing"] == "none"
    assert parse_pins(["checkpointing=none", "checkpoint_every=3"])["checkpointing"] == "none"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("micro_batch_size", "cannot read --set"),
        ("speed=9", "unknown field 'speed'"),
        ("max_steps=9", "max_steps is not set with --set"),
        ("sequence_length=512", "sequence_length is not set with --set"),
        ("n_layer=0", "n_layer: Input should be greater than or equal to 1"),
        ("n_layer=abc", "n_layer: Input should be a valid integer"),
        ("n_layer=null", "n_layer: Input should be a valid integer"),
        ("n_layer=true", "n_layer: Input should be a valid integer"),
        ("micro_batch_size=nan", "micro_batch_size: Input should be a valid integer"),
        ("micro_batch_size=1.5", "micro_batch_size: Input should be a valid integer"),
        ("learning_rate=inf", "learning_rate: Input should be a finite number"),
        ("dtype=fp8", "dtype: Input should be 'float32'"),
    ],
)
def test_a_wrong_setting_is_named(setting, message):
    with pytest.raises(FwplanError, match=message) as caught:
        parse_pins([setting])
    assert caught.value.exit_code == ExitCode.USAGE


@pytest.mark.parametrize(
    ("settings", "message", "code"),
    [
        (["n_layer=999"], "nothing that is searched has n_layer=999", ExitCode.USAGE),
        (["n_head=7", "n_embd=768"], "nothing that is searched has n_embd=768, n_head=7", ExitCode.USAGE),
        (["parallel=fsdp"], "undecidable", ExitCode.UNDECIDABLE),
        (["n_layer=48", "n_head=32", "n_embd=4096"], "not even the smallest model fits", ExitCode.DOES_NOT_FIT),
    ],
)
def test_settings_that_leave_nothing(settings, message, code):
    with pytest.raises(FwplanError, match=message) as caught:
        fwplan.suggest(vram=12, tokens=1e9, settings=settings)
    assert caught.value.exit_code == code


@pytest.mark.parametrize(
    "setting",
    [
        "n_layer=12", "n_head=8", "n_embd=768", "vocab_size=32768", "bias=true", "tied_embeddings=false",
        "dropout=0.1", "micro_batch_size=3", "grad_accum_steps=7", "dtype=pure_bfloat16",
        "compile=false", "attention=math", "loss=chunked", "loss_chunk_tokens=256", "returns_logits=true",
        "checkpointing=block", "checkpoint_every=3", "optimizer=adamw_8bit", "optimizer=sgd",
        "optimizer_impl=foreach", "expandable_segments=false", "grad_clip=0", "eval_micro_batch_size=64",
        "learning_rate=0.001", "min_lr=0.0001", "warmup_steps=10", "weight_decay=0", "beta2=0.99", "eval_interval=100",
        "eval_batches=5", "checkpoint_interval=10", "shuffle=documents", "seed=1",
    ],
)  # fmt: skip
def test_what_is_pinned_is_in_the_pick_and_it_fits(setting):
    found = fwplan.suggest(vram=24, tokens=1e9, settings=[setting])
    (name, value), *_ = reversed(parse_pins([setting]).items())
    spec = found.pick.spec
    assert (dict(spec.model) | flat(spec.train))[name] == value
    assert found.pick.estimate.verdict == "fits"
    assert found.plan.reasons[name] == "pinned with --set"
