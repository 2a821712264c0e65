"""`fwplan suggest`: the model worth training on a device, or on each of several."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

from fwplan.api.common import chosen_target
from fwplan.errors import FwplanError
from fwplan.files import user_path
from fwplan.machine.target import Target, detected, nominal_gpu, this_cpu
from fwplan.model.architectures import ARCHITECTURES
from fwplan.planning.pins import parse_pins
from fwplan.planning.request import OBJECTIVES, Request
from fwplan.spec import DataSpec
from fwplan.units import parse_count, parse_gib

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fwplan.planning.cards import CardTable
    from fwplan.planning.suggestion import Suggestion

MAX_CONTEXT, MAX_HOURS = 2**20, 1e6


def suggest(
    *,
    tokens: float | str | None = None,
    hours: float = 168.0,
    gpu: str | None = None,
    vram: float | str | None = None,
    device: str | None = None,
    data: str | Path | None = None,
    context: int = 1024,
    **wishes: Any,
) -> Suggestion:
    """Return the model worth training on a device, its rivals and the reasons; `.plan.save(path)` writes it.

    Args:
        tokens: tokens to train on, such as 10e9 or "10B"; None: as many as the hours allow.
        hours: the longest training time.
        gpu: a card by name. With neither gpu, vram nor device: this machine's GPU, else its processor.
        vram: a card by its nominal memory in GiB.
        device: "cpu" or "cuda": this machine's.
        data: FineWeb-shaped parquet, whose unique tokens limit what is worth repeating.
        context: tokens per sequence.
        wishes: margin (GiB to keep free beside the upper end of what the run may need), epochs, objective
            ("loss", "largest", "fastest", "cheapest"), loss (in nats, for "cheapest"), gpu_hour_price, kwh_price,
            budget (money), architecture ("gpt2", "llama", "nanochat", "pythia") and settings (texts such as
            "micro_batch_size=8").

    Raises:
        FwplanError: an argument cannot be used, or nothing fits.
    """
    from fwplan.planning.search import search  # noqa: PLC0415  # numpy, for who searches

    target = chosen_target(gpu, vram, device) or detected() or this_cpu()
    return search(_request(target, tokens=tokens, hours=hours, data=_counted(data), context=context, **wishes))


def suggest_cards(
    sizes: Sequence[str],
    *,
    tokens: float | str | None = None,
    hours: float = 168.0,
    data: str | Path | None = None,
    context: int = 1024,
    **wishes: Any,
) -> CardTable:
    """Return what `suggest` picks for cards of several nominal sizes in GB, as `suggest --vram 12,16,24` prints it.

    Raises:
        FwplanError: an argument cannot be used, or nothing fits one of the cards.
    """
    from fwplan.planning.cards import card_table  # noqa: PLC0415

    targets = [nominal_gpu(parse_gib(size)) for size in sizes]
    text = _counted(data)
    return card_table([_request(t, tokens=tokens, hours=hours, data=text, context=context, **wishes) for t in targets])


def refuse_with_cards(**options: object) -> None:
    """Raise where an option was given that a table of cards has no room for."""
    for name, value in options.items():
        if value is not None:
            raise FwplanError(f"--{name} and several --vram were both asked for", hint="give one of them")


def _request(
    target: Target,
    *,
    tokens: float | str | None,
    hours: float,
    data: DataSpec | None,
    context: int,
    architecture: str = "gpt2",
    margin: float | str | None = None,
    settings: Sequence[str] = (),
    **wishes: Any,
) -> Request:
    if not 0 < float(hours) <= MAX_HOURS:
        raise FwplanError(f"--hours must be above 0 and at most {MAX_HOURS:g}, not {hours}", hint="a week is 168")
    if not 1 <= context <= MAX_CONTEXT:
        raise FwplanError(f"--context must be 1 to {MAX_CONTEXT}, not {context}", hint="GPT-2's is 1024")
    if architecture not in ARCHITECTURES:
        raise FwplanError(f"unknown architecture {architecture!r}", hint=f"one of {', '.join(ARCHITECTURES)}")
    request = Request(
        target=target,
        tokens=parse_count(str(tokens)) if tokens is not None else None,
        hours=float(hours),
        architecture=architecture,
        context_length=int(context),
        data=data,
        margin_bytes=parse_gib(str(margin)) if margin is not None else 0,
        expandable_segments=sys.platform != "win32",
        pins=parse_pins(settings, architecture),
        **wishes,
    )
    _refuse_wishes(request)
    return request


def _refuse_wishes(request: Request) -> None:
    """Raise where what is wished for contradicts itself."""
    if request.objective not in OBJECTIVES:
        raise FwplanError(f"unknown objective {request.objective!r}", hint=f"one of {', '.join(OBJECTIVES)}")
    if (request.objective == "cheapest") != (request.loss is not None):
        raise FwplanError("--objective cheapest and --loss go together", hint="--objective cheapest --loss 3.3")
    if request.loss is not None and request.loss > math.log(request.vocab_size):
        untrained = math.log(request.vocab_size)
        raise FwplanError(f"--loss {request.loss:g} needs no training: an untrained model has {untrained:.2f} nats",
                          hint="a model of 124 M parameters reaches about 3.3")  # fmt: skip
    if request.epochs is not None and request.data is None:
        raise FwplanError("--epochs needs --data: passes over what?", hint="--data fineweb/*.parquet, or --tokens")
    if request.budget is not None and request.gpu_hour_price is None and request.kwh_price is None:
        raise FwplanError("--budget needs a price", hint="--gpu-hour-price 0.40, or --kwh-price 0.30")
    for name in ("loss", "epochs", "gpu_hour_price", "kwh_price", "budget"):
        value = getattr(request, name)
        if value is not None and not 0 < value < float("inf"):
            raise FwplanError(
                f"--{name.replace('_', '-')} must be above 0, not {value:g}", hint="fwplan suggest --help"
            )


def _counted(path: str | Path | None) -> DataSpec | None:
    """Return where the training text is and how many tokens it holds."""
    if path is None:
        return None
    from fwplan.data.shards import is_token_folder, open_shards  # noqa: PLC0415  # numpy

    where = str(user_path(path).resolve())
    if is_token_folder(path):
        return DataSpec(path=where, tokens=open_shards(path).train_tokens)
    from fwplan.data.count import count_tokens  # noqa: PLC0415  # pyarrow, for who brings data

    return DataSpec(path=where, tokens=count_tokens(path).tokens)
