import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path("benchmarks").resolve()))

from throughput import summary, throughput_rows

from fwplan.estimators.roofline import micro_step, product_seconds
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
    low, high = many_step_seconds(spec.model, spec.train, card, B=B, C=C, L=L, T=1024)
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
    step = micro_step(spec.model, spec.train, _card(spec.train), B=1, C=256, L=12, T=64)
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
