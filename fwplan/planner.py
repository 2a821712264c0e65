"""From a device, tokens and hours to the model worth training: enumerate, keep what fits, rank by expected loss."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from fwplan import recipe
from fwplan.budget import available_bytes
from fwplan.calibration import load_measurements
from fwplan.errors import ExitCode, FwplanError
from fwplan.estimation import Estimate, estimate
from fwplan.estimators.parameters import count_parameters
from fwplan.estimators.quality import effective_tokens, law_loss
from fwplan.estimators.speed import middle, model_flops
from fwplan.plan import Plan
from fwplan.spec import GPT2_VOCAB, DataSpec, Dtype, ModelSpec, RunSpec, TrainSpec
from fwplan.units import gib

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fwplan.measurement import Measurement
    from fwplan.target import Target

HEAD_DIM = 64  # GPT-2's; every width below is a multiple of it, which tensor cores like
WIDTHS = (
    *range(64, 513, 64), 576, 640, 704, 768, 896, 1024, 1152, 1280, 1408, 1536, 1792, 2048, 2304, 2560, 3072, 4096
)  # fmt: skip
DEPTHS = (2, 3, 4, 5, 6, 8, 10, 12, 14, 16, 18, 20, 24, 28, 32, 36, 40, 48)
# Width over depth: GPT-2 small to XL run from 64 down to 33, GPT-3's models up to 85.
ASPECT = (32, 86)
MICRO_BATCHES = tuple(2**k for k in range(9))
# Expected losses closer than this cannot be told apart by the law; then the faster model wins.
LOSS_TOLERANCE = 0.002
# The laws were fitted on runs of more tokens than parameters (compute-optimal: about 20 to 1). Below this ratio they
# still promise a gain from every parameter, which nobody has seen; such a model is not proposed if another one is.
LEAST_TOKENS_PER_PARAMETER = 2
TRITON = 7.0  # compute capability below which torch.compile has no code generator
# Repetition beyond this many epochs is worth nothing (Muennighoff et al. 2023): without --tokens the plan stops there.
MOST_EPOCHS = 40
OBJECTIVE = "lowest expected loss within memory, tokens and time"


@dataclass(frozen=True)
class Request:
    """What the user has and wants. tokens None: as many as the hours allow; data limits fresh tokens, not tokens."""

    target: Target
    tokens: int | None
    hours: float
    context_length: int = 1024
    vocab_size: int = GPT2_VOCAB
    data: DataSpec | None = None


@dataclass(frozen=True)
class Candidate:
    """A model that fits, with the fastest way found to train it and the tokens that the hours leave it."""

    estimate: Estimate
    tokens: int

    @property
    def spec(self) -> RunSpec:
        """The run that this candidate stands for."""
        return self.estimate.spec

    @cached_property
    def law_loss(self) -> float:
        """The scaling law's loss in nats: what candidates are ranked by. Positions do not count as capacity."""
        unique = self.spec.data.tokens if self.spec.data else None
        return law_loss(self.estimate.parameters.non_position, effective_tokens(self.tokens, unique))

    @property
    def tokens_per_parameter(self) -> float:
        """Tokens trained on for each parameter."""
        return self.tokens / self.estimate.parameters.total

    @property
    def total_seconds(self) -> float:
        """Geometric middle of the run's time; 0 where the speed is unknown."""
        return middle(self.estimate.total_seconds) if self.estimate.total_seconds else 0.0


@dataclass(frozen=True)
class Suggestion:
    """The pick, what else was worth looking at, and why nothing larger was picked."""

    request: Request
    pick: Candidate
    alternatives: tuple[Candidate, ...]
    why_not_bigger: str
    searched: int  # shapes that were looked at
    objective: str = OBJECTIVE

    @property
    def plan(self) -> Plan:
        """The pick as a plan, ready to save."""
        return Plan.of(self.pick.estimate, self.objective, recipe.REASONS)


def shapes(request: Request) -> Iterator[ModelSpec]:
    """Yield the models that are searched: GPT-2s of hardware-friendly width and sane depth, without biases."""
    for width in WIDTHS:
        for depth in DEPTHS:
            if ASPECT[0] <= width / depth <= ASPECT[1]:
                yield ModelSpec(
                    n_layer=depth,
                    n_head=width // HEAD_DIM,
                    n_embd=width,
                    vocab_size=request.vocab_size,
                    context_length=request.context_length,
                )


def search(request: Request, measurements: Sequence[Measurement] | None = None) -> Suggestion:
    """Return what to train for a request.

    Raises:
        FwplanError: the device's memory is unknown, or not even the smallest model fits it.
    """
    past = load_measurements() if measurements is None else measurements
    if available_bytes(request.target.device) is None:
        raise FwplanError(
            f"the memory of {request.target.label} is unknown", hint="say it: --vram 12", exit_code=ExitCode.UNDECIDABLE
        )
    models = list(shapes(request))
    found = [candidate for model in models if (candidate := _best(model, request, past)) is not None]
    if not found and request.tokens is not None and request.tokens < request.context_length:
        raise FwplanError(
            f"{request.tokens} tokens are not even one sequence of {request.context_length}",
            hint="give more --tokens, or a shorter --context",
        )
    if not found:
        raise FwplanError(
            f"not even the smallest model fits {request.target.label}: "
            f"{gib(available_bytes(request.target.device) or 0)} available",
            hint="a shorter --context needs less",
            exit_code=ExitCode.DOES_NOT_FIT,
        )
    pick = _pick(found)
    return Suggestion(
        request, pick, _alternatives(found, pick), _why_not_bigger(pick, found, models), searched=len(models)
    )


def _pick(found: Sequence[Candidate]) -> Candidate:
    covered = [candidate for candidate in found if candidate.tokens_per_parameter >= LEAST_TOKENS_PER_PARAMETER]
    if not covered:
        return max(found, key=lambda candidate: (candidate.tokens_per_parameter, -candidate.total_seconds))
    found = covered
    best = min(candidate.law_loss for candidate in found)
    close = [candidate for candidate in found if candidate.law_loss <= best + LOSS_TOLERANCE]
    return min(close, key=lambda candidate: (candidate.total_seconds, candidate.law_loss))


def _best(model: ModelSpec, request: Request, past: Sequence[Measurement]) -> Candidate | None:
    """Return the fastest way to train this model that fits, or None."""
    fitting = []
    for train in _trains(request):
        largest = _largest_that_fits(model, train, request, past)
        if largest is not None:
            fitting.append(_candidate(largest, request, past))
    return min((c for c in fitting if c is not None), key=lambda c: (c.law_loss, c.total_seconds), default=None)


def _trains(request: Request) -> Iterator[TrainSpec]:
    """Yield recipes from the plainest to the thriftiest; micro-batch and horizon are set later."""
    cpu = request.target.device.type == "cpu"
    half: Dtype = "bfloat16" if all(card.supports_bf16 for card in request.target.cards) else "float16"
    for checkpointing in ("none", "block"):
        for loss in ("full", "chunked"):
            yield TrainSpec(
                micro_batch_size=1,
                dtype="float32" if cpu else half,
                compile=not cpu and all(float(card.compute_capability) >= TRITON for card in request.target.cards),
                loss=loss,
                checkpointing=checkpointing,
            )


def _largest_that_fits(
    model: ModelSpec, train: TrainSpec, request: Request, past: Sequence[Measurement]
) -> Estimate | None:
    """Return the estimate with the largest micro-batch that fits with margin; memory grows with it, so halve."""
    most = recipe.CUSTOMARY_TOKENS_PER_STEP
    sizes = [size for size in MICRO_BATCHES if size == 1 or size * request.context_length <= most]
    best, low, high = None, 0, len(sizes)
    while low < high:
        middle_index = (low + high) // 2
        spec = RunSpec(
            model=model,
            train=train.model_copy(update={"micro_batch_size": sizes[middle_index], "grad_accum_steps": 2}),
            data=request.data,
        )
        attempt = estimate(spec, request.target, measurements=past)
        if attempt.verdict == "fits":
            best, low = attempt, middle_index + 1
        else:
            high = middle_index
    return best


def _candidate(fitting: Estimate, request: Request, past: Sequence[Measurement]) -> Candidate | None:
    """Return the candidate with its horizon: the tokens asked for, or as many as the hours allow; None: too few."""
    affordable = _affordable_tokens(fitting, request.hours)
    worthwhile = MOST_EPOCHS * request.data.tokens if request.data and request.data.tokens else None
    limits = (request.tokens or worthwhile, affordable)
    wanted = [count for count in limits if count is not None]
    if not wanted:
        raise FwplanError(
            f"how fast {request.target.label} is is unknown, so --hours alone sets no horizon",
            hint="give --tokens 10e9",
        )
    tokens = min(wanted)
    if tokens < request.context_length:
        return None
    chosen = _within_the_hours(fitting.spec, tokens, request, past)
    return Candidate(chosen, tokens=chosen.spec.total_tokens or tokens)


def _within_the_hours(spec: RunSpec, tokens: int, request: Request, past: Sequence[Measurement]) -> Estimate:
    """Return the estimate of the run with its recipe, cut until the middle of its time is within the hours.

    The recipe may make the micro-batch smaller, and that the step slower, than what the tokens were counted with.
    """
    most = request.hours * 3600
    while True:
        whole = tokens == request.tokens
        chosen = estimate(_with_recipe(spec, tokens, whole=whole), request.target, measurements=past)
        if chosen.total_seconds is None or middle(chosen.total_seconds) <= most or chosen.spec.steps == 1:
            return chosen
        tokens = max(1, int(0.98 * tokens * most / middle(chosen.total_seconds)))


def _affordable_tokens(fitting: Estimate, hours: float) -> int | None:
    if fitting.step_seconds is None:
        return None
    seconds = hours * 3600 / (1 + recipe.EVALUATION_SHARE)
    return int(seconds / middle(fitting.step_seconds) * fitting.spec.tokens_per_step)


def _with_recipe(spec: RunSpec, tokens: int, *, whole: bool) -> RunSpec:
    """Return the spec with batch, horizon and learning rate for that many tokens; whole: at least so many."""
    per_step = recipe.tokens_per_step(tokens, model_flops(spec).per_token * tokens)
    micro = max(1, min(spec.train.micro_batch_size, per_step // spec.sequence_length))
    accumulation = max(1, round(per_step / (micro * spec.sequence_length)))
    spec = _replace(spec, micro_batch_size=micro, grad_accum_steps=accumulation)
    steps = -(-tokens // spec.tokens_per_step) if whole else max(1, tokens // spec.tokens_per_step)
    spec = _replace(spec, max_steps=steps)
    rate = recipe.learning_rate(model_flops(spec).per_step * steps)
    return _replace(
        spec,
        learning_rate=rate,
        min_lr=float(f"{rate / 10:.1e}"),
        warmup_steps=min(2000, max(1, steps // 50)),
        eval_interval=recipe.eval_interval(steps, accumulation, spec.train.eval_batches),
    )


def _replace(spec: RunSpec, **train: object) -> RunSpec:
    return spec.model_copy(update={"train": spec.train.model_copy(update=train)})


def _alternatives(found: Sequence[Candidate], pick: Candidate) -> tuple[Candidate, ...]:
    """Return up to three others: the best of the larger ones, and smaller ones for half and an eighth of the time."""
    size = pick.estimate.parameters.total
    least = LEAST_TOKENS_PER_PARAMETER if pick.tokens_per_parameter >= LEAST_TOKENS_PER_PARAMETER else 0
    covered = [c for c in found if c.tokens_per_parameter >= least]
    larger = sorted((c for c in covered if c.estimate.parameters.total > 1.2 * size), key=lambda c: c.law_loss)[:1]
    smaller = []
    for share in (1 / 2, 1 / 8):
        quick = [c for c in found if c.total_seconds <= share * pick.total_seconds and c not in smaller]
        quick = [c for c in quick if c.estimate.parameters.total < size]
        smaller += sorted(quick, key=lambda c: c.law_loss)[:1]
    return (*larger, *smaller)


def _why_not_bigger(pick: Candidate, found: Sequence[Candidate], models: Sequence[ModelSpec]) -> str:
    size = pick.estimate.parameters.total
    larger = [c for c in found if c.estimate.parameters.total > size]
    if larger:
        return _compared(pick, min(larger, key=lambda c: c.estimate.parameters.total))
    if any(count_parameters(model).total > size for model in models):
        return "the next larger shape does not fit, even with a chunked loss, checkpointing and micro-batch 1"
    return "it is the largest shape that is searched"


def _compared(pick: Candidate, larger: Candidate) -> str:
    """Return what the next larger candidate would cost or lose."""
    name = f"{larger.estimate.parameters.total / 1e6:,.0f} M parameters"
    if larger.tokens_per_parameter < LEAST_TOKENS_PER_PARAMETER:
        return f"{name} would get {larger.tokens_per_parameter:.2g} tokens each, too few for the scaling laws to judge"
    change = larger.law_loss - pick.law_loss
    if larger.tokens < 0.99 * pick.tokens:
        share = larger.tokens / pick.tokens
        return f"{name} would see {share:.0%} of these tokens in the time; the law expects {change:+.3f} nats"
    slower = larger.total_seconds / pick.total_seconds if pick.total_seconds else 1.0
    return f"{name} would take {slower:.2f} times as long for {change:+.3f} nats"
