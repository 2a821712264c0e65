"""minimind's training scripts beside a model_minimind.py of either generation, and without one."""

import pytest

from fwplan.configs import load_config
from fwplan.errors import FwplanError
from fwplan.spec.flat import flat

TRAIN = """\
import argparse
import torch
from torch import optim
from model.model_minimind import MiniMindConfig
from trainer.trainer_utils import init_model
open("executed", "w")
if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--learning_rate", type=float, default=5e-4)
    parser.add_argument("--device", type=str, default="cuda:0" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", type=str, default="bfloat16")
    parser.add_argument("--accumulation_steps", type=int, default=8)
    parser.add_argument("--grad_clip", type=float, default=1.0)
    parser.add_argument('--hidden_size', default=768, type=int)
    parser.add_argument('--num_hidden_layers', default=8, type=int)
    parser.add_argument('--max_seq_len', default=340, type=int)
    parser.add_argument('--use_moe', default=0, type=int, choices=[0, 1])
    parser.add_argument('--from_weight', default='none', type=str)
    parser.add_argument("--use_compile", default=0, type=int, choices=[0, 1])
    args = parser.parse_args()
    lm_config = MiniMindConfig(hidden_size=args.hidden_size, use_moe=bool(args.use_moe))
    model, tokenizer = init_model(lm_config, args.from_weight)
    optimizer = optim.AdamW(model.parameters(), lr=args.learning_rate)
    model(X).loss.backward()
"""
NEW = """\
class MiniMindConfig(PretrainedConfig):
    model_type = "minimind"
    def __init__(self, hidden_size=768, num_hidden_layers=8, use_moe=False, **kwargs):
        super().__init__(**kwargs)
        self.hidden_size = hidden_size
        self.dropout = kwargs.get("dropout", 0.0)
        self.vocab_size = kwargs.get("vocab_size", 6400)
        self.num_attention_heads = kwargs.get("num_attention_heads", 8)
        self.num_key_value_heads = kwargs.get("num_key_value_heads", 4)
        self.head_dim = kwargs.get("head_dim", self.hidden_size // self.num_attention_heads)
        self.intermediate_size = kwargs.get("intermediate_size", math.ceil(hidden_size * math.pi / 64) * 64)
        self.max_position_embeddings = kwargs.get("max_position_embeddings", 32768)
        self.rms_norm_eps = kwargs.get("rms_norm_eps", 1e-6)
        self.rope_theta = kwargs.get("rope_theta", 1e6)
        self.tie_word_embeddings = kwargs.get("tie_word_embeddings", True)
class Attention(nn.Module):
    def __init__(self, config):
        self.q_norm = RMSNorm(config.head_dim)
"""
OLD = """\
class MiniMindConfig(PretrainedConfig):
    def __init__(self, dropout: float = 0.0, hidden_size: int = 512, intermediate_size: int = None,
                 max_position_embeddings: int = 32768, num_attention_heads: int = 8, num_hidden_layers: int = 8,
                 num_key_value_heads: int = 2, vocab_size: int = 6400, rms_norm_eps: float = 1e-05,
                 rope_theta: int = 1000000.0, use_moe: bool = False, **kwargs):
        self.hidden_size = hidden_size
"""


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Return a function that reads a training script, changed as asked, beside a model of minimind."""
    monkeypatch.chdir(tmp_path)

    def read(*overrides, change=("", ""), model=NEW, name="trainer/train_pretrain.py", world_size=1):
        before, after = change
        assert before in TRAIN
        files = {"trainer/train_pretrain.py": TRAIN.replace(before, after, 1) if before else TRAIN}
        files |= {"model/model_minimind.py": model} if model is not None else {}
        for path, text in files.items():
            (tmp_path / path).parent.mkdir(exist_ok=True)
            (tmp_path / path).write_text(text, encoding="utf-8")
        loaded = load_config(tmp_path / name, overrides, world_size=world_size)
        assert not (tmp_path / "executed").exists()
        return loaded

    return read


def parameters(loaded):
    model = loaded.spec.model
    return model.parameters(model.dims)


def test_the_model_and_the_run_come_from_their_files(load):
    loaded = load()
    model, train = loaded.spec.model, flat(loaded.spec.train)
    assert (loaded.kind, parameters(loaded)) == ("minimind", 63_912_192)  # minimind-3: 64M
    assert (model.n_hidden, model.head_width, model.qk_norm, model.tied_embeddings) == (2432, 96, True, True)
    assert (train["micro_batch_size"], train["grad_accum_steps"], loaded.spec.sequence_length) == (32, 8, 340)
    assert (train["dtype"], train["compile"], train["optimizer_impl"], train["grad_clip"]) == (
        "bfloat16", False, "foreach", 1.0,
    )  # fmt: skip
    assert (train["returns_logits"], train["keeps_logits"], loaded.pretrained) == (True, True, False)
    assert loaded.lines["train.micro_batch_size"] == 10
    assert loaded.lines["model.n_embd"] == 16
    assert loaded.uncounted == ("minimind's own code",)


@pytest.mark.parametrize(
    ("words", "count"),  # minimind2-small and minimind2 as its page names them: 26M and 104M
    [(["--hidden_size=512"], 25_829_888), (["--num_hidden_layers=16"], 104_030_976)],
)
def test_the_older_model_has_no_norm_of_heads_and_sizes_of_its_own(load, words, count):
    loaded = load(*words, model=OLD)
    assert (parameters(loaded), loaded.spec.model.qk_norm) == (count, False)


def test_arguments_are_typed_as_the_script_takes_them(load):
    loaded = load("--hidden_size=512", "--use_compile=1", "--dtype=float16", "--from_weight=pretrain")
    assert (loaded.spec.model.n_embd, loaded.spec.model.head_width, loaded.spec.model.n_hidden) == (512, 64, 1664)
    assert (loaded.spec.train.compile, loaded.spec.train.dtype, loaded.pretrained) == (True, "float16", True)
    with pytest.raises(FwplanError, match="unknown argument 'hidden_sise'") as caught:
        load("--hidden_sise=512")
    assert "hidden_size" in caught.value.hint
    spread = load(world_size=2).spec.train.parallel
    assert (spread.name, spread.world_size) == ("ddp", 2)


def test_a_model_that_is_not_there_is_assumed_and_said(load):
    loaded = load(model=None)
    assert parameters(loaded) == 63_912_192
    assert any("model_minimind.py is not there" in note for note in loaded.notes)


def test_the_models_file_alone_is_a_model(load):
    loaded = load(name="model/model_minimind.py")
    assert [one.key for one in loaded.unknown] == ["batch_size"]
    loaded = load("--batch_size=4", "--sequence_length=512", "intermediate_size=1024", name="model/model_minimind.py")
    assert (loaded.spec.model.n_hidden, loaded.spec.train.micro_batch_size) == (1024, 4)
    assert loaded.lines["model.vocab_size"] == 7


@pytest.mark.parametrize(
    ("change", "model", "unknown"),
    [
        (("'--use_moe', default=0", "'--use_moe', default=1"), NEW, ["use_moe 1"]),
        (("", ""), NEW.replace('"dropout", 0.0', '"dropout", 0.1'), ["dropout 0.1"]),
        (("", ""), NEW.replace("math.ceil(hidden_size * math.pi / 64) * 64", "width()"), ["intermediate_size"]),
        (("default=32)", "default=pick())"), NEW, ["batch_size"]),
        (("    optimizer", "    ref_model = init_model(lm_config)\n    optimizer"), NEW, ["init_model"]),
        (("import init_model", "import init_model\nfrom model.model_lora import apply_lora"), NEW, ["lora"]),
        (("", ""), "class MiniMindConfig:\n    pass\n", ["n_layer", "n_head", "n_embd", "n_hidden", "vocab_size"]),
    ],
)
def test_what_is_another_run_is_refused_or_asked_for(load, change, model, unknown):
    loaded = load(change=change, model=model)
    assert (loaded.spec, [one.key for one in loaded.unknown]) == (None, unknown)


def test_older_batches_are_a_token_shorter(load):
    cut = ("    model(X).loss", "    for X, Y, loss_mask in loader: pass\n    model(X).loss")
    assert load(change=cut).spec.sequence_length == 339
