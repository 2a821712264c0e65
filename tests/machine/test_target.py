"""What a device is taken for: named, sized by its memory alone, or read back from a plan."""

from dataclasses import replace

import pytest

import fwplan
from fwplan.errors import FwplanError
from fwplan.machine import Cpu, find_gpu, gpus, gpus_with, target
from fwplan.machine.target import TRITON, Target, _sizes_sold, named_gpu, nominal_gpu, target_of
from fwplan.spec import DeviceSpec
from fwplan.units import GIB

ODD = (0.5, 7.7, 13, 100, 12282 / 1024, 128, 192, 256)


@pytest.mark.parametrize("size", [*_sizes_sold(), *ODD])
def test_a_nominal_size_reads_back_from_its_total(size):
    asked = nominal_gpu(round(size * GIB))
    again = target_of(asked.device)
    assert (again.label, again.cards, again.device) == (asked.label, asked.cards, asked.device)
    assert (again.half, again.compiles, again.speeds) == (asked.half, asked.compiles, asked.speeds)
    assert set(again.notes) <= set(asked.notes)


@pytest.mark.parametrize("size", _sizes_sold())
def test_suggest_its_plan_and_explain_agree(tmp_path, size):
    found = fwplan.suggest(vram=size, tokens=1e9)
    path = found.plan.save(tmp_path / "plan.json")
    chosen, again = found.pick.estimate, fwplan.explain(path).estimate
    assert again.target.label == chosen.target.label == found.request.target.label
    assert again.verdict == chosen.verdict == "fits"
    assert (again.use, again.step_seconds, again.total_seconds) == (
        chosen.use,
        chosen.step_seconds,
        chosen.total_seconds,
    )
    assert again.step_seconds is not None
    assert fwplan.Plan.load(path).predicted.step_seconds == again.step_seconds


def test_every_size_of_the_table_is_tested():
    assert {16, 20, 24, 48, 80, 94, 96, 141, 180} <= set(_sizes_sold())
    assert all(gpus_with(size) for size in _sizes_sold())


@pytest.mark.parametrize(("total", "size"), [(11.71, 12), (15.7, 16), (22.19, 24), (79.2, 80), (31.4, 32)])
def test_a_cards_own_total_is_of_the_smallest_size_that_has_it(total, size):
    found = target_of(DeviceSpec(total_bytes=round(total * GIB)))
    assert found.cards == tuple(gpus_with(size))
    assert found.label == f"a card of {total:.2f} GiB"
    assert found.nominal_gib is None


def test_what_is_larger_than_every_card_is_none_of_them():
    assert target_of(DeviceSpec(total_bytes=4000 * GIB + 1)).cards == ()
    assert target_of(DeviceSpec()).cards == ()


@pytest.mark.parametrize("card", gpus(), ids=lambda card: card.name)
def test_a_named_card_is_planned_by_its_own_row(card):
    found = named_gpu(card.name)
    if found.cards:
        assert found.half == ("bfloat16" if card.supports_bf16 else "float16")
        assert found.compiles == (float(card.compute_capability) >= TRITON)
    else:
        assert (found.half, found.compiles) == ("bfloat16", True)


# 32 GB: a GeForce RTX 5090 and a V100; 6 and 11 GB: one card each, without bfloat16; 64 GB: none is known
@pytest.mark.parametrize(
    ("size", "half"),
    [(6, "float16"), (8, "bfloat16"), (11, "float16"), (12, "bfloat16"), (16, "bfloat16"), (32, "float16"),
     (48, "bfloat16"), (64, "bfloat16")],
)  # fmt: skip
def test_a_size_is_planned_for_most_of_its_rated_cards(size, half):
    found = nominal_gpu(size * GIB)
    assert found.half == half
    assert found.compiles


def test_cards_without_a_rate_count_only_where_none_has_one():
    device = DeviceSpec(total_bytes=8 * GIB)
    old, new, turing = find_gpu("GTX 1080"), find_gpu("RTX 3070"), find_gpu("RTX 2070")
    assert old.dense_tflops is None
    assert Target(device, (old, new)).half == "bfloat16"
    assert Target(device, (old, old, new)).compiles
    assert Target(device, (new, turing)).half == "float16"
    assert Target(device, (old, replace(new, dense_tflops=None))).half == "float16"
    assert not Target(device, (old,)).compiles


def test_nothing_compiles_on_a_processor():
    assert not Target(DeviceSpec(type="cpu")).compiles


def test_the_cards_that_lack_the_planned_dtype_are_named():
    def said(size):
        return [note for note in nominal_gpu(size * GIB).notes if "bfloat16" in note]

    assert said(16) == ["without bfloat16: T4, Tesla P100 PCIe 16GB, V100 SXM2 16GB; name such a card with --gpu"]
    assert said(24) == ["without bfloat16: TITAN RTX; name such a card with --gpu"]
    assert said(12) == said(32) == said(11) == []


def test_more_than_three_are_counted(monkeypatch):
    cards = [*gpus_with(16), *(replace(card, supports_bf16=False, dense_tflops=None) for card in gpus_with(12))]
    monkeypatch.setattr("fwplan.machine.target.gpus_with", lambda _: cards)
    (said,) = [note for note in nominal_gpu(16 * GIB).notes if "bfloat16" in note]
    assert said.count(",") == 2
    assert f" and {len(gpus_with(12))} more; name such a card" in said


def test_a_processor_that_does_not_say_its_memory_is_told_it(monkeypatch):
    monkeypatch.setattr(target, "detect_cpu", lambda **_: Cpu("Silent", 2, None, None, None))
    with pytest.raises(FwplanError, match="the memory of Silent is unknown") as caught:
        fwplan.suggest(device="cpu", tokens=1_000_000, context=64)
    assert caught.value.hint == "say it: --vram 12"
    found = fwplan.suggest(device="cpu", vram=12, tokens=1_000_000, context=64)
    assert found.request.target.device == DeviceSpec(type="cpu", name="Silent", total_bytes=12 * GIB)


def test_a_processor_that_says_its_memory_is_no_card(monkeypatch):
    monkeypatch.setattr(target, "detect_cpu", lambda **_: Cpu("CPU", 2, 8 * GIB, 8 * GIB, None))
    with pytest.raises(FwplanError, match="both asked for"):
        fwplan.suggest(device="cpu", vram=12, tokens=1_000_000)
