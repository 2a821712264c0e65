"""What a campaign covers, in what order, and how long it should take."""

import pytest

from fwplan.estimators.memory import unsupported
from fwplan.learning.cost import expected_seconds
from fwplan.learning.grid import full_grid, small_grid
from fwplan.learning.modes import describe, modes
from fwplan.machine.target import named_gpu

FULL = full_grid()
H200 = named_gpu("H200")
ASKED = {  # every mode that the closed form distinguishes
    "eager", "compiled", "float32", "bfloat16", "float16", "pure_bfloat16", "flash attention", "efficient attention",
    "math attention", "full loss", "chunked loss", "checkpointed", "bias", "untied embeddings", "unaligned vocabulary",
    "foreach SGD", "fused 8-bit AdamW",
    "dropout", "foreach AdamW", "for_loop AdamW", "accumulating", "no clipping", "larger evaluation",
}  # fmt: skip


def test_the_full_grid_covers_every_mode():
    assert {mode for spec in FULL for mode in modes(spec)} == ASKED
    assert 90 <= len(FULL) <= 140
    assert len(set(FULL)) == len(FULL)
    assert not [spec for spec in FULL if unsupported(spec) or spec.train.loss.returns_logits]


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        (lambda s: s.train.micro_batch_size if s.model.n_layer == 12 else None, {1, 2, 4, 8, 12, 16, 32, 64}),
        (lambda s: s.loss_chunk_tokens if s.train.loss.name == "chunked" else None, {512, 1024, 4096}),
        (lambda s: s.train.checkpoint_every if s.train.checkpointing == "block" else None, {1, 2}),
        (lambda s: s.model.vocab_size, {50304, 50257, 65}),
        (lambda s: s.sequence_length, {256, 1024, 4096}),
        (lambda s: s.model.n_layer, {6, 12, 24, 48}),
        (lambda s: s.train.grad_accum_steps if s.train.compile else None, {1, 4}),
        (lambda s: s.train.dtype if s.train.compile else None, {"float32", "bfloat16", "float16", "pure_bfloat16"}),
        (lambda s: s.train.attention if s.train.compile else None, {"flash", "efficient", "math"}),
    ],
)
def test_the_full_grid_has_these_values(values, wanted):
    assert wanted <= {values(spec) for spec in FULL}


def test_a_full_campaign_ends_in_time_and_a_cut_off_one_has_seen_every_mode():
    seconds = [expected_seconds(spec, H200) for spec in FULL]
    assert sum(seconds) < 25 * 60
    assert max(seconds) < 120
    first = [seconds for seconds, total in zip(seconds, _running(seconds), strict=True) if total < 10 * 60]
    assert {mode for spec in FULL[: len(first)] for mode in modes(spec)} == ASKED


def _running(seconds):
    return [sum(seconds[: i + 1]) for i in range(len(seconds))]


def test_the_small_grid_is_for_a_cpu():
    specs = small_grid()
    assert 8 <= len(specs) <= 12
    assert len(set(specs)) == len(specs)
    assert not any(spec.train.compile for spec in specs)
    covered = {mode for spec in specs for mode in modes(spec)}
    assert {"float32", "bfloat16", "chunked loss", "checkpointed", "accumulating", "larger evaluation"} <= covered


def test_cost_counts_compiling_and_work(run_spec):
    plain = expected_seconds(run_spec(compile=False), H200)
    assert expected_seconds(run_spec(compile=True), H200) > plain + 10
    assert expected_seconds(run_spec(compile=False, grad_accum_steps=40), H200) > 1.5 * plain
    assert expected_seconds(run_spec(compile=True, eval_micro_batch_size=32), H200) > plain + 20


def test_a_spec_is_told_in_one_short_line(run_spec):
    assert describe(run_spec()) == "12L/768 16x1024 bfloat16 compiled"
    spec = run_spec(
        compile=False, loss="chunked", loss_chunk_tokens=512, checkpointing="block", checkpoint_every=2, bias=True,
        grad_accum_steps=4, vocab_size=50257, attention="math", eval_micro_batch_size=64, optimizer_impl="foreach",
    )  # fmt: skip
    assert describe(spec) == (
        "12L/768 16x1024 bfloat16 eager math chunked/512 ckpt/2 accum 4 V 50257 eval 64 bias foreach AdamW"
    )
    assert max(len(describe(spec)) for spec in FULL) < 90
