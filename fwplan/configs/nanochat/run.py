"""A run of nanochat's as settings: what its arguments say, and what it works out from them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from fwplan.configs.nanochat.rules import (
    REFERENCE_DEPTH,
    Scaled,
    flops_per_token,
    multiplied,
    scaled,
    total_batch_size,
    width,
)
from fwplan.configs.settings import Setting, Settings, assemble, grad_accum_steps, layer, whole
from fwplan.errors import FwplanError
from fwplan.model.nanochat import Nanochat

if TYPE_CHECKING:
    from fwplan.configs.settings import Reading

VOCABULARY = 32_768  # of nanochat's tok_train.py
# What the scripts do whatever they are told.
_ALWAYS: dict[str, bool | float | str] = {
    "compile": True,
    "tf32": True,
    "grad_clip": 0.0,
    "expandable_segments": True,
    "optimizer": "muon",
}


def settle(reading: Reading, arguments: Settings, top: Settings) -> Settings:
    """Return the run's settings; a vocabulary in `top` counts where others are worked out from it.

    Raises:
        FwplanError: sizes that no model has, or no horizon.
    """
    _refuse(reading, arguments)
    said = shape(arguments, top.get("vocab_size", Setting("vocab_size", VOCABULARY, origin="default")), reading.path)
    if said["vocab_size"].origin == "default":
        reading.notes.append(f"vocabulary of {VOCABULARY:,} tokens assumed, as its tok_train.py makes it")
    model = built(said, reading.path)
    said |= always(reading) | _device(arguments)
    said |= {"micro_batch_size": arguments["device_batch_size"]} | _horizon(arguments, model, reading.path)
    return said | _evaluation(said, arguments, reading.path)


def shape(arguments: Settings, vocabulary: Setting, path: str) -> Settings:
    """Return the model's fields, each with the argument that decides it."""
    depth, head = arguments["depth"], whole(arguments["head_dim"], path)
    C = width(whole(depth, path), whole(arguments["aspect_ratio"], path), head)
    pattern = arguments["window_pattern"]
    return {
        "architecture": Setting("architecture", "nanochat", origin="default"),
        "n_layer": depth,
        "n_embd": replace(depth, value=C),
        "n_head": replace(depth, value=C // head),
        "context_length": arguments["max_seq_len"],
        "vocab_size": vocabulary,
        "window_pattern": replace(pattern, value=str(pattern.value).upper()),
    }


def built(said: Settings, path: str, **changes: Any) -> Nanochat:
    """Return the model of these fields.

    Raises:
        FwplanError: there is no such model.
    """
    fields = {name: said[name].value for name in Nanochat.model_fields if name in said}
    try:
        return Nanochat(**(fields | changes))
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "n_layer"
        message = f"{said[name]}: {first['msg'].removeprefix('Value error, ')}"
        raise FwplanError(message, where=said[name].place(path), hint="nanochat has no such model") from None


def always(reading: Reading) -> Settings:
    """Return what nanochat and what is made from it do whatever they are told."""
    reading.uncounted.append("Muon's stacks")
    reading.notes.append("torch's Muon is counted: nanochat's own steps all matrices of a shape at once, in stacks")
    return {name: Setting(name, value, origin="default") for name, value in _ALWAYS.items()}


def trained(reading: Reading, said: Settings, top: Settings) -> Reading:
    """Return the reading with these settings and what is typed over them; the batch decides the accumulation.

    Raises:
        FwplanError: micro-batches do not divide the batch.
    """
    settings = reading.settings = layer(said, top)
    steps = grad_accum_steps(settings, reading.path)
    if steps is not None:
        settings["grad_accum_steps"] = steps
    if not reading.unknown:
        reading.document = assemble(settings, reading.path)
    return reading


def number(setting: Setting, path: str) -> float:
    """Return a setting's value as a number.

    Raises:
        FwplanError: it is none.
    """
    if isinstance(setting.value, bool) or not isinstance(setting.value, int | float):
        raise FwplanError(f"{setting} must be a number", where=setting.place(path), hint="write one")
    return setting.value


def _refuse(reading: Reading, arguments: Settings) -> None:
    fp8 = arguments["fp8"]
    if fp8.value:
        reading.refuse("fp8", fp8.line, "products in 8 bits")


def _device(arguments: Settings) -> Settings:
    """Return the device where one is named; only CUDA computes in bf16."""
    named = arguments["device_type"]
    if not named.value:
        return {"dtype": Setting("dtype", "bfloat16", origin="default")}
    return {"device": named, "dtype": replace(named, value="bfloat16" if named.value == "cuda" else "float32")}


def _horizon(arguments: Settings, model: Nanochat, path: str) -> Settings:
    """Return steps, tokens of a step, rates and decay: the first horizon of three that is given counts."""
    ratio, total = number(arguments["target_param_data_ratio"], path), arguments["total_batch_size"]
    tokens, reference = ratio * multiplied(model), ratio * _reference(arguments, model, path)
    if total.value == -1:
        if not ratio:
            raise FwplanError(
                "nanochat's batch follows from target_param_data_ratio, which is 0",
                where=arguments["target_param_data_ratio"].place(path),
                hint="give it, or total_batch_size",
            )
        total = replace(total, value=total_batch_size(int(tokens), reference))
    batch = whole(total, path)
    steps = _steps(arguments, model, batch, path)
    rates = _rates(arguments, scaled(batch, reference / tokens if ratio else 1.0), steps, path)
    return {"total_batch_size": total, "max_steps": steps} | rates


def _reference(arguments: Settings, model: Nanochat, path: str) -> int:
    head = whole(arguments["head_dim"], path)
    C = width(REFERENCE_DEPTH, whole(arguments["aspect_ratio"], path), head)
    return multiplied(model.model_copy(update={"n_layer": REFERENCE_DEPTH, "n_embd": C, "n_head": C // head}))


def _steps(arguments: Settings, model: Nanochat, batch: int, path: str) -> Setting:
    steps, flops = arguments["num_iterations"], arguments["target_flops"]
    ratio = arguments["target_param_data_ratio"]
    if number(steps, path) > 0:
        return steps
    if number(flops, path) > 0:
        return replace(flops, value=round(number(flops, path) / (flops_per_token(model) * batch)))
    if number(ratio, path) > 0:
        return replace(ratio, value=int(number(ratio, path) * multiplied(model)) // batch)
    raise FwplanError("nothing says how long nanochat trains", where=steps.place(path), hint="give num_iterations=1000")


def _rates(arguments: Settings, factors: Scaled, steps: Setting, path: str) -> Settings:
    """Return the rate of the matrices, which is Muon's, and its decay."""
    rate = arguments["matrix_lr"]
    peak = number(rate, path) * factors.rates
    decay, least = arguments["weight_decay"], arguments["final_lr_frac"]
    return {
        "learning_rate": replace(rate, value=peak),
        "min_lr": replace(least, value=peak * number(least, path)),
        "weight_decay": replace(decay, value=number(decay, path) * factors.decay),
        "warmup_steps": _warm_up(arguments, steps, path),
    }


def _warm_up(arguments: Settings, steps: Setting, path: str) -> Setting:
    """Return the warm-up's steps; until 2026-03-10 it was a share of the run."""
    share = arguments.get("warmup_ratio")
    if share is None:
        return arguments["warmup_steps"]
    return replace(share, value=round(number(share, path) * whole(steps, path)))


def _evaluation(said: Settings, arguments: Settings, path: str) -> Settings:
    every, tokens = arguments["eval_every"], arguments["eval_tokens"]
    if number(every, path) <= 0:
        return {}
    micro = whole(said["micro_batch_size"], path) * whole(said["context_length"], path)
    return {"eval_interval": every, "eval_batches": replace(tokens, value=max(1, whole(tokens, path) // micro))}
