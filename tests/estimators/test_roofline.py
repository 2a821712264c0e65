import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path("benchmarks").resolve()))

from throughput import summary, throughput_rows

from fwplan.devices import gpus
from fwplan.estimators.roofline import micro_step, product_rate, product_seconds
from fwplan.estimators.speed import many_step_seconds, step_seconds
from fwplan.target import hardware, named_gpu

RTX_4070 = named_gpu("RTX 4070")


def _card(train):
    return hardware(train, RTX_4070).slow


def test_the_half_that_the_fit_has_not_seen_is_within_a_few_percent():
    unseen = summary([row for row in throughput_rows() if not row.fitted])
    assert unseen["rows"] >= 40
    assert unseen["median"] < 0.05
    assert unseen["p90"] < 0.20
    assert unseen["in_interval"] >= 0.95 * unseen["rows"]


def test_arrays_are_the_scalars(run_spec):
    spec = run_spec(grad_accum_steps=4, checkpointing="block", checkpoint_every=2)
    card = hardware(spec.train, RTX_4070)
    rows = [(1, 256, 4), (8, 768, 12), (32, 1024, 7)]
    B, C, L = (np.array(column) for column in zip(*rows, strict=True))
    low, high = many_step_seconds(spec.model, spec.train, card, spec.model.sized(L, 1, C), B=B, T=1024)
    for i, (batch, width, depth) in enumerate(rows):
        one = run_spec(
            n_layer=depth, n_embd=width, n_head=width // 64 if width % 64 == 0 else 1, micro_batch_size=batch,
            grad_accum_steps=4, checkpointing="block", checkpoint_every=2,
        )  # fmt: skip
        assert step_seconds(one, card) == pytest.approx((low[i], high[i]), rel=1e-12)


def test_the_last_wave_of_tiles_costs_as_much_as_a_full_one(run_spec):
    card = _card(run_spec().train)
    sms, long = card.multiprocessors, 2**16
    full, more = (product_seconds(card, 128 * rows, 128, long, 2, card.matrix_flops / 100) for rows in (sms, sms + 1))
    assert more == pytest.approx(2 * full, rel=0.01)


def test_a_small_micro_batch_waits_for_the_host(run_spec):
    spec = run_spec(vocab_size=256)
    step = micro_step(spec.model, spec.train, _card(spec.train), spec.model.sized(12, 4, 256), B=1, T=64)
    assert step.seconds == step.host


@pytest.mark.parametrize(
    ("slower", "faster"),
    [
        ({"compile": False}, {}),
        ({"checkpointing": "block"}, {"checkpointing": "block", "checkpoint_every": 4}),
        ({"checkpointing": "block", "checkpoint_every": 4}, {}),
        ({"loss": "chunked"}, {}),
        ({"optimizer_impl": "foreach"}, {}),
        ({"attention": "math"}, {}),
        ({"dtype": "float32"}, {}),
    ],
)
def test_what_costs_time(run_spec, slower, faster):
    def seconds(fields):
        spec = run_spec(**fields)
        return step_seconds(spec, hardware(spec.train, RTX_4070))[0]

    assert seconds(slower) > seconds(faster)


def _seconds(run_spec, card, **fields):
    spec = run_spec(**fields)
    return step_seconds(spec, hardware(spec.train, named_gpu(card)))[0]


def test_plain_fp32_never_runs_above_the_cards_peak(run_spec):
    train = run_spec(dtype="float32").train
    for gpu in gpus():
        speed = hardware(train, named_gpu(gpu.name)) if gpu.vendor != "apple" else None
        if speed is not None:
            assert product_rate(speed.slow, train) <= gpu.fp32_tflops * 1e12, gpu.name


@pytest.mark.parametrize(
    ("card", "least", "most"),
    [("A100 SXM4 80GB", 2.5, 8), ("RTX 3090", 1.1, 2), ("T4", 1, 1), ("V100 SXM2 16GB", 1, 1)],
)
def test_tf32_helps_where_there_are_units_for_it(run_spec, card, least, most):
    fp32 = {"dtype": "float32", "attention": "efficient", "micro_batch_size": 16}
    gain = _seconds(run_spec, card, **fp32) / _seconds(run_spec, card, tf32=True, **fp32)
    assert least <= gain <= most


def test_tf32_is_nothing_to_half_precision(run_spec):
    assert _seconds(run_spec, "A100 SXM4 80GB", tf32=True) == _seconds(run_spec, "A100 SXM4 80GB")


@pytest.mark.parametrize(("card", "slower"), [("T4", True), ("RTX 2080 Ti", True), ("RTX 4070", False)])
def test_bfloat16_without_units_for_it_is_slow(run_spec, card, slower):
    ratio = _seconds(run_spec, card, micro_batch_size=16) / _seconds(
        run_spec, card, micro_batch_size=16, dtype="float16"
    )
    assert ratio > 2 if slower else ratio == 1


def test_optimizers_differ_by_what_they_move(run_spec):
    def of(**fields):
        return _seconds(run_spec, "RTX 4070", micro_batch_size=1, **fields)

    assert of(optimizer="sgd", momentum=0.0) < of(optimizer="sgd") < of() < of(optimizer_impl="foreach")
    deep = {"n_layer": 96, "n_embd": 64, "n_head": 1}  # bitsandbytes waits for the GPU after each of many tensors
    assert of(optimizer="adamw_8bit", n_embd=1600, n_head=25) < of(n_embd=1600, n_head=25)
    assert of(optimizer="adamw_8bit", **deep) > of(**deep)
    assert of(grad_clip=0.0) < of()
    # Fused AdamW reads and writes a fp32 weight, gradient and two moments: 28 bytes a parameter, and 12 to clip.
    parameters = 123_600_000 + 786_432
    extra = (of() - of(grad_clip=0.0)) / 0.85 * 504.2e9 * 0.7
    assert extra == pytest.approx(12 * parameters, rel=0.02)


def test_attention_by_formula_pays_for_its_scores(run_spec):
    wide = {"micro_batch_size": 16, "attention": "math", "compile": False}
    by_formula, flash = (_seconds(run_spec, "A100 SXM4 80GB", **wide | {"attention": a}) for a in ("math", "flash"))
    scores = 16 * 12 * 12 * 1024**2
    assert by_formula - flash == pytest.approx(0.85 * 80 * scores / (2040e9 * 0.7), rel=0.15)
    assert _seconds(run_spec, "A100 SXM4 80GB", **wide | {"compile": True}) < by_formula
    more_heads = _seconds(run_spec, "A100 SXM4 80GB", n_head=24, **wide)
    assert more_heads - by_formula == pytest.approx(0.85 * 80 * scores / (2040e9 * 0.7), rel=0.01)
