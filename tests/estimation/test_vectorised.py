import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwplan.errors import FwplanError
from fwplan.estimation.vectorised import needed, peak_allocated
from fwplan.estimators.levels import device_use
from fwplan.estimators.memory import bytes_above, estimate_memory
from fwplan.model.architecture import Dims
from fwplan.model.llama import Llama
from fwplan.model.nanochat import Nanochat
from fwplan.model.pythia import Pythia
from fwplan.spec import RunSpec, TrainSpec


@given(
    st.lists(st.tuples(*(st.integers(1, n) for n in (24, 16, 8, 64))), min_size=1, max_size=8),
    st.sampled_from(["float32", "bfloat16", "pure_bfloat16"]),
    st.sampled_from(["fused", "foreach", "for_loop"]),
    st.sampled_from(
        [
            {},
            {"loss": "chunked"},
            {"compile": False},
            {"checkpointing": "block"},
            {"checkpointing": "block", "checkpoint_every": 2},
            {"checkpointing": "block", "checkpoint_every": 4, "compile": False},
            {"grad_accum_steps": 4},
            {"compile": False, "checkpointing": "block", "loss": "chunked"},
            {"attention": "math"},
            {"returns_logits": True, "keeps_logits": True},
            {"eval_micro_batch_size": 1},
            {"eval_micro_batch_size": 12},
            {"eval_micro_batch_size": 12, "compile": False},
            {"eval_micro_batch_size": 12, "compile": False, "loss": "chunked", "attention": "math"},
            {"eval_micro_batch_size": 12, "loss": "chunked"},
            {"optimizer": "adamw_8bit", "optimizer_impl": "fused"},
            {"optimizer": "adamw_8bit", "optimizer_impl": "fused", "bias": True, "tied_embeddings": False},
            {"optimizer": "sgd"},
        ]
    ),
)
def test_every_element_is_the_scalar_estimate(run_spec, shapes, dtype, optimizer, mode):
    def spec(depth=1, heads=1, width=8, batch=1):
        return run_spec(n_layer=depth, n_head=heads, n_embd=width, micro_batch_size=batch, vocab_size=977,
                        context_length=64, dtype=dtype, **{"optimizer_impl": optimizer} | mode)  # fmt: skip

    rows = [(depth, heads, heads * size * 8, batch) for depth, heads, size, batch in shapes]
    depth, heads, width, batch = np.array(rows).T
    many = peak_allocated(spec(), spec().model.sized(depth, heads, width), micro_batch_size=batch)
    assert many.tolist() == [estimate_memory(spec(*row)).allocated_bytes for row in rows]


SHAPES = st.tuples(*(st.integers(1, n) for n in (12, 4, 4, 16)))  # depth, key-value heads, widths of a head, batch
KINDS = {
    "llama": lambda depth, heads, size: Llama(n_layer=depth, n_head=heads, n_embd=16 * heads * size),
    "llama, grouped": lambda depth, heads, size: Llama(
        n_layer=depth, n_head=3 * heads, n_kv_head=heads, n_embd=32 * size, head_width=8, n_hidden=40 * size
    ),
    "pythia": lambda depth, heads, size: Pythia(n_layer=depth, n_head=heads, n_embd=16 * heads * size),
    "nanochat": lambda _, heads, size: Nanochat(n_layer=5, n_head=heads, n_embd=32 * heads * size),
}


@pytest.mark.parametrize("kind", KINDS)
@given(
    st.lists(SHAPES, min_size=1, max_size=6),
    st.sampled_from(["float32", "bfloat16", "pure_bfloat16"]),
    st.sampled_from([{}, {"checkpointing": "block"}, {"grad_accum_steps": 4}, {"eval_micro_batch_size": 9}]),
    st.booleans(),
)
def test_every_architecture_in_arrays_is_its_scalar_estimate(kind, rows, dtype, mode, compiled):
    sizes = {"vocab_size": 977, "context_length": 256}
    models = [KINDS[kind](*shape).model_copy(update=sizes) for *shape, _ in rows]
    models = [model for model in models if model.structure(256) == models[0].structure(256)]
    batches = [batch for *_, batch in rows[: len(models)]]
    specs = [
        RunSpec(model=model, train=TrainSpec(micro_batch_size=batch, dtype=dtype, compile=compiled, **mode))
        for model, batch in zip(models, batches, strict=True)
    ]
    dims = Dims(*(np.array(column) for column in zip(*(model.dims for model in models), strict=True)))
    many = peak_allocated(specs[0], dims, micro_batch_size=batches)
    assert many.tolist() == [estimate_memory(spec).allocated_bytes for spec in specs]


def test_shapes_broadcast(run_spec):
    sizes = run_spec().model.sized(np.array([[2], [4]]), 12, 768)
    many = peak_allocated(run_spec(), sizes, micro_batch_size=[1, 2, 4])
    assert many.shape == (2, 3)
    assert (np.diff(many, axis=0) > 0).all()
    assert (np.diff(many, axis=1) > 0).all()


def test_what_cannot_be_taken_together_is_refused(run_spec):
    spec = run_spec(parallel="fsdp", world_size=2)
    with pytest.raises(FwplanError, match="undecidable"):
        peak_allocated(spec, spec.model.dims, micro_batch_size=1)


@pytest.mark.parametrize(
    "mode",
    [
        {},
        {"compile": False},
        {"returns_logits": True},
        {"parallel": "ddp", "world_size": 2, "compile": False},
        {"optimizer": "adamw_8bit", "compile": False},
        {"eval_micro_batch_size": 4},
        {"expandable_segments": True},
        {"vocab_size": 50257},
    ],
)
@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_what_many_need_is_what_each_needs(run_spec, mode, device):
    spec = run_spec(device=device, **mode)
    peak = peak_allocated(spec, spec.model.dims, micro_batch_size=[1, 16])
    memories = [estimate_memory(run_spec(micro_batch_size=size, device=device, **mode)) for size in (1, 16)]
    above = bytes_above(spec, np.array([1, 16]) * spec.sequence_length)
    each = [device_use(spec, memory, device, None).needed.high for memory in memories]
    assert needed(spec, peak, above, None).high.tolist() == each
