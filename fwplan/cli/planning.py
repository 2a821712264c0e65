"""`fwplan suggest` and `fwplan solve`: read, call, render."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fwplan.cli.options import Device, Gpu, Json, Vram
from fwplan.cli.print_json import print_json

Price = Annotated[float | None, typer.Option(help="Price, in any currency.")]
Plan = Annotated[Path, typer.Option("-o", "--output", help="Where to write the plan.")]


app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def suggest(
    tokens: Annotated[
        str | None, typer.Option(help="Tokens to train on: 10e9, 10B. Default: what the hours allow.")
    ] = None,
    hours: Annotated[float, typer.Option(min=1e-6, help="Longest training time.")] = 168.0,
    gpu: Gpu = None,
    vram: Annotated[
        str | None, typer.Option(help="A card by its nominal memory: 12, 12GiB; several, 12,24, make a table.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu: plan for this machine's processor.")] = None,
    data: Annotated[str | None, typer.Option(help="FineWeb-shaped parquet: a file, a folder or a glob.")] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the data at most.")] = None,
    margin: Annotated[
        str | None, typer.Option(help="GiB to keep free beside the upper end of what the run may need.")
    ] = None,
    architecture: Annotated[str, typer.Option(help="gpt2, llama, nanochat or pythia.")] = "gpt2",
    context: Annotated[int, typer.Option(min=1, help="Tokens per sequence.")] = 1024,
    objective: Annotated[str, typer.Option(help="loss, largest, fastest or cheapest.")] = "loss",
    loss: Annotated[float | None, typer.Option(help="Expected loss in nats that cheapest has to reach.")] = None,
    gpu_hour_price: Price = None,
    kwh_price: Price = None,
    budget: Annotated[float | None, typer.Option(help="The most it may cost, at these prices.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="Pin a field: micro_batch_size=8.")] = None,
    output: Plan = Path("plan.json"),
    html: Annotated[Path | None, typer.Option(help="Write all of it as one HTML page.")] = None,
    as_json: Json = False,
) -> None:
    """Search for the model worth training on a device, and write plan.json."""
    import fwplan
    from fwplan.api.common import refuse_output
    from fwplan.api.suggest import refuse_with_cards
    from fwplan.console.terminal import show
    from fwplan.view.terminal.suggest import card_lines, suggest_lines

    wishes = {"margin": margin, "epochs": epochs, "objective": objective, "loss": loss,
              "gpu_hour_price": gpu_hour_price, "kwh_price": kwh_price, "budget": budget,
              "architecture": architecture, "settings": settings or []}  # fmt: skip
    if vram is not None and "," in vram:
        refuse_with_cards(gpu=gpu, device=device, html=html)
        table = fwplan.suggest_cards(vram.split(","), tokens=tokens, hours=hours, data=data, context=context, **wishes)
        if as_json:
            print_json(table.as_dict())
        else:
            show(card_lines(table))
        return
    refuse_output(output)
    if html is not None:
        from fwplan.view.html import refuse_page

        refuse_page(html)
    suggestion = fwplan.suggest(
        tokens=tokens, hours=hours, gpu=gpu, vram=vram, device=device, data=data, context=context, **wishes
    )
    plan = suggestion.plan
    plan.save(output)
    if html is not None:
        from fwplan.view.html import write_suggestion

        write_suggestion(suggestion, html, output)
    if as_json:
        print_json(plan.model_dump(mode="json") | suggestion.as_dict())
    else:
        written = [] if html is None else [f"  written: {html}"]
        show([*suggest_lines(suggestion, str(output)), *written])


@app.command()
def solve(
    field: Annotated[str, typer.Argument(help="The unknown: micro_batch_size, n_layer, n_embd, context_length...")],
    config: Annotated[Path, typer.Argument(help="A spec.json, or anything that explain reads.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="nanoGPT-style --key=value, after --.")] = None,
    gpu: Gpu = None,
    vram: Vram = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Say the largest value of one field with which a run still fits."""
    import fwplan
    from fwplan.console.terminal import show
    from fwplan.view.terminal.solve import solve_lines

    found = fwplan.solve(field, config, overrides or [], gpu=gpu, vram=vram, device=device)
    if as_json:
        print_json(found.as_dict())
    else:
        show(solve_lines(found))
