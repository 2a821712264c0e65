"""A recipe by flat names, by parts, and by both."""

import json

import pytest
from pydantic import ValidationError

import fwplan
from fwplan.errors import FwplanError
from fwplan.optimizers.adamw import AdamW
from fwplan.optimizers.sgd import SGD
from fwplan.parallel.ddp import DDP
from fwplan.spec import TrainSpec, parse_spec
from fwplan.spec.flat import FIELDS, PARTS, flat, nested
from fwplan.spec.loss import ChunkedLoss, FullLoss

MODEL = {"n_layer": 1, "n_head": 1, "n_embd": 8}


def _train(**fields):
    return TrainSpec(micro_batch_size=4, **fields)


@pytest.mark.parametrize(
    ("short", "parts"),
    [
        ({"optimizer": "sgd", "learning_rate": 0.1}, {"optimizer": SGD(learning_rate=0.1)}),
        ({"beta2": 0.9}, {"optimizer": {"name": "adamw", "beta2": 0.9}}),
        ({"optimizer": {"beta1": 0.5}}, {"optimizer": AdamW(beta1=0.5)}),
        ({"loss": "chunked", "loss_chunk_tokens": 8}, {"loss": ChunkedLoss(chunk_tokens=8)}),
        ({"loss.dtype": "logits"}, {"loss": FullLoss(dtype="logits")}),
        ({"parallel": "ddp", "world_size": 2}, {"parallel": DDP(world_size=2)}),
        ({"optimizer": SGD(momentum=0.5), "learning_rate": 1.0}, {"optimizer": SGD(momentum=0.5, learning_rate=1.0)}),
        ({"schedule": "cosine", "min_lr": 0.0}, {"schedule": {"name": "cosine", "min_lr": 0.0}}),
    ],
)
def test_a_short_form_is_its_parts(short, parts):
    assert _train(**short) == _train(**parts)


@pytest.mark.parametrize("part", PARTS)
def test_every_part_survives_its_flat_form_and_its_json(part):
    for name in PARTS[part]:
        train = _train(**{part: name})
        assert TrainSpec.model_validate(flat(train)) == train
        assert TrainSpec.model_validate_json(train.model_dump_json()) == train
        assert nested(nested(flat(train))) == nested(flat(train))


def test_what_another_part_has_no_use_for_goes_and_what_both_have_stays():
    train = _train(beta2=0.5, learning_rate=0.1, momentum=0.3)
    assert train == _train(beta2=0.5, learning_rate=0.1)
    assert train.but(optimizer="sgd").optimizer == SGD(learning_rate=0.1)
    assert train.but(optimizer="adamw_8bit").optimizer.beta2 == 0.5


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"optimizer": {"name": "adamw", "beta1": 0.1}, "beta1": 0.2}, "beta1 is said twice"),
        ({"optimizer": {"name": "sgd", "beta1": 0.1}}, "optimizer.sgd.beta1"),
        ({"optimizer": "adamw_8bit", "optimizer_impl": "foreach"}, "optimizer_impl 'foreach' does not exist for it"),
        ({"loss": "chunked", "returns_logits": True}, "cannot return them"),
        ({"loss": "chunked", "loss.dtype": "logits"}, "taken in float32"),
        ({"optimizer": {"name": "adamw", "learning_rate": 0.1}, "schedule": {"min_lr": 0.2}}, "it would rise"),
    ],
)
def test_what_cannot_be_is_refused(fields, said):
    with pytest.raises(ValidationError) as caught:
        _train(**fields)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("train", "said"),
    [
        ({"learning_rate": -1.0}, "train.learning_rate: Input should be greater than 0 (got -1.0)"),
        ({"optimizer": {"learning_rate": -1.0}}, "train.optimizer.learning_rate: Input should be greater than 0"),
        ({"optimizer": "adam"}, "train.optimizer: unknown optimizer 'adam'"),
        ({"optimizer": 3}, "train.optimizer: Input should be an object (got 3)"),
        ({"optimizer": {"name": "sgd", "beta1": 0.1}}, "unknown key 'train.optimizer.beta1'"),
    ],
)
def test_an_error_has_the_names_that_were_written(train, said):
    with pytest.raises(FwplanError) as caught:
        parse_spec({"model": MODEL, "train": {"micro_batch_size": 1, **train}}, "spec.json")
    assert said in caught.value.message


def test_the_known_keys_are_those_of_the_chosen_part():
    document = {"model": MODEL, "train": {"micro_batch_size": 1, "optimizer": {"name": "sgd", "beta1": 0.1}}}
    with pytest.raises(FwplanError) as caught:
        parse_spec(document, "spec.json")
    assert "momentum" in caught.value.hint
    assert "beta1" not in caught.value.hint


def test_a_file_with_parts_is_overridden_by_flat_names_and_blamed_by_line(tmp_path):
    text = json.dumps({"model": MODEL, "train": {"micro_batch_size": 1, "optimizer": {"name": "adamw", "beta2": 0.9}}})
    path = tmp_path / "spec.json"
    path.write_text(text.replace('"beta2"', '\n"beta2"'), encoding="utf-8")
    loaded = fwplan.load_config(path)
    assert loaded.spec.train.optimizer == AdamW(beta2=0.9)
    assert loaded.lines["train.beta2"] == 2
    assert fwplan.load_config(path, ["--beta2=0.5"]).spec.train.optimizer == AdamW(beta2=0.5)
    assert fwplan.load_config(path, ["--optimizer=sgd"]).spec.train.optimizer == SGD()
    path.write_text(path.read_text(encoding="utf-8").replace("0.9", "2.0"), encoding="utf-8")
    with pytest.raises(FwplanError, match="beta2") as caught:
        fwplan.load_config(path)
    assert caught.value.where == f"{path}:2"


def test_a_flat_name_is_one_fields_alone():
    names = set(TrainSpec.model_fields) - PARTS.keys()
    assert not names & FIELDS.keys()
