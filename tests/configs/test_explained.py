"""`fwplan explain` of other tools' configs as they are typed: what it reads, what it asks for, what it writes."""

import json

import pytest

from fwplan.errors import ExitCode

LLAMA = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 256,
}


@pytest.fixture
def typed(in_process, monkeypatch, tmp_path):
    """Return a function that types a command in an empty folder and returns its exit code, output and errors."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        done = in_process(*words)
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.mark.parametrize(
    "words",
    [
        ("--nanochat", "depth=2", "head_dim=64", "device_batch_size=1", "max_seq_len=256"),
        ("--nanochat", "--", "--depth=2", "--head-dim=64", "--device-batch-size=1", "--max-seq-len=256"),
    ],
)
def test_nanochat_needs_no_file(typed, words):
    separator = () if "--" in words else ("--",)
    code, out, err = typed("explain", "--gpu", "4070", *words, *separator, "--compile=False")
    assert (code, err) == (ExitCode.OK, "")
    assert "2 layers, 2 heads, width 128, vocabulary 32768; micro-batch 1 x 256" in out
    assert "nanochat at 92d63d4" in out


def test_a_mistyped_argument_has_its_hint(typed):
    code, _, err = typed("explain", "--nanochat", "dpeth=2")
    assert (code, "did you mean depth?" in err) == (ExitCode.USAGE, True)


def test_what_is_asked_for_is_a_command_to_type(typed, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(LLAMA), encoding="utf-8")
    code, _, err = typed("explain", "config.json", "--gpu", "4070")
    assert code == ExitCode.UNDECIDABLE
    assert "fwplan explain config.json --gpu 4070 -- --micro_batch_size=VALUE" in " ".join(err.split())


def test_a_llama_is_explained_and_written_as_a_plan(typed, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(LLAMA), encoding="utf-8")
    words = ("--micro_batch_size=2", "--sequence_length=128", "--max_steps=10", "--compile=False")
    code, out, _ = typed("explain", "config.json", "--gpu", "4070", "-o", "plan.json", "--", *words)
    assert (code, "width 64, vocabulary 256; micro-batch 2 x 128" in " ".join(out.split())) == (ExitCode.OK, True)
    plan = json.loads((tmp_path / "plan.json").read_text(encoding="utf-8"))
    assert (plan["model"]["architecture"], plan["model"]["n_kv_head"]) == ("llama", 2)
    again, out, _ = typed("explain", "plan.json", "--gpu", "4070")
    assert (again, "width 64, vocabulary 256" in " ".join(out.split())) == (ExitCode.OK, True)


def test_experts_are_refused_by_name(typed, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(LLAMA | {"model_type": "mixtral"}), encoding="utf-8")
    code, _, err = typed("explain", "config.json", "--", "--micro_batch_size=2")
    assert (code, "mixtures of experts are not modelled" in " ".join(err.split())) == (ExitCode.UNDECIDABLE, True)


def test_yaml_and_toml_are_explained(typed, tmp_path):
    (tmp_path / "run.yaml").write_text("model_name: pythia-14m\ntrain:\n  micro_batch_size: 1\n", encoding="utf-8")
    code, out, _ = typed("explain", "run.yaml", "--gpu", "4090", "--", "--compile=False", "--sequence_length=256")
    assert (code, "14,067,712" in out) == (ExitCode.OK, True)
    job = '[model]\nname = "llama3"\nflavor = "debugmodel"\n[training]\nlocal_batch_size = 1\nseq_len = 256\n'
    (tmp_path / "job.toml").write_text(job, encoding="utf-8")
    code, out, _ = typed("explain", "job.toml", "--gpu", "4090")
    assert (code, "6,163,712" in out) == (ExitCode.OK, True)
