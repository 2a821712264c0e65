"""Whatever a document or an argument says, it is read or refused with one clear error: no reader ever crashes."""

import json
import tempfile
from pathlib import Path

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fwplan.configs import NANOCHAT, load_config
from fwplan.configs.documents.families import FAMILIES, HARMLESS
from fwplan.configs.nanochat.arguments import own_defaults
from fwplan.errors import FwplanError

SCALARS = (
    st.integers(-3, 70_000)
    | st.floats(allow_nan=False, width=32)
    | st.booleans()
    | st.none()
    | st.sampled_from(["", "silu", "AdamW", "float8", "bf16-true", "L", "0x10", "8B", "true"])
)
VALUES = st.recursive(SCALARS, lambda one: st.lists(one, max_size=3) | st.dictionaries(st.text(max_size=3), one))
HF_KEYS = sorted({*HARMLESS, "num_experts", *(key for one in FAMILIES.values() for key in (*one.fields, *one.only))})
LITGPT = {
    "model_name": st.sampled_from(["pythia-14m", "tiny-llama-1.1b", "unknown", 3, None]),
    "precision": SCALARS,
    "devices": SCALARS,
    "checkpoint_dir": st.sampled_from(["checkpoints/x/Llama-3.2-1B", 5]),
    "optimizer": VALUES,
    "data": VALUES,
    "train": st.dictionaries(
        st.sampled_from(["micro_batch_size", "global_batch_size", "max_seq_length", "max_norm", "tie_embeddings", "x"]),
        VALUES,
    )
    | SCALARS,
    "model_config": st.dictionaries(
        st.sampled_from(["n_layer", "n_embd", "n_head", "block_size", "mlp_class_name", "bias", "vocab_size"]), VALUES
    ),
}
TITAN = {
    "model": {"name": SCALARS, "flavor": SCALARS, "converters": VALUES},
    "training": {"local_batch_size": SCALARS, "global_batch_size": SCALARS, "seq_len": SCALARS, "dtype": SCALARS},
    "compile": {"enable": SCALARS, "components": VALUES},
    "parallelism": {"data_parallel_shard_degree": SCALARS, "data_parallel_replicate_degree": SCALARS},
    "activation_checkpoint": {"mode": SCALARS, "selective_ac_option": SCALARS},
    "optimizer": {"name": SCALARS, "lr": SCALARS, "implementation": SCALARS},
    "lr_scheduler": {"min_lr_factor": SCALARS},
}


def read_or_refused(name, text, overrides=()):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_text(text, encoding="utf-8")
        try:
            loaded = load_config(path, overrides)
        except FwplanError:
            return
        assert (loaded.spec is None) == bool(loaded.unknown)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(FAMILIES)), st.dictionaries(st.sampled_from(HF_KEYS), VALUES, max_size=8))
def test_any_hugging_face_config(kind, document):
    read_or_refused("config.json", json.dumps({"model_type": kind} | document), ["--micro_batch_size=2"])


@settings(max_examples=150, deadline=None)
@given(st.fixed_dictionaries({}, optional=LITGPT))
def test_any_litgpt_file(document):
    read_or_refused("config.yaml", yaml.safe_dump(document))


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60))
def test_any_text_as_yaml_and_toml(text):
    read_or_refused("config.yaml", text)
    read_or_refused("config.toml", text)


def toml(document):
    """A document of sections as TOML; what TOML has no value for is left out."""
    lines = []
    for section, values in document.items():
        lines.append(f"[{section}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in values.items() if _fits(value)]
    return "\n".join(lines)


def _fits(value):
    if isinstance(value, list):
        return all(_fits(one) for one in value)
    return value is not None and not isinstance(value, dict) and "e" not in str(value).lower()


@settings(max_examples=150, deadline=None)
@given(st.fixed_dictionaries({name: st.fixed_dictionaries({}, optional=keys) for name, keys in TITAN.items()}))
def test_any_torchtitan_job(document):
    document["model"].setdefault("flavor", "8B")
    read_or_refused("job.toml", toml(document))


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(own_defaults())), SCALARS, max_size=6))
def test_any_arguments_of_nanochat(arguments):
    words = [f"{name}={value}" for name, value in arguments.items()]
    try:
        loaded = load_config(NANOCHAT, words)
    except FwplanError:
        return
    assert (loaded.spec is None) == bool(loaded.unknown)
