"""The names that settings go by, and how file, defaults and overrides combine into one spec document."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from fwplan.configs.literals import read_value
from fwplan.configs.uncounted import may_change_memory, structure, switched_off
from fwplan.errors import FwplanError
from fwplan.model.architectures import AnyArchitecture
from fwplan.spec import ModelSpec, TrainSpec
from fwplan.spec.flat import FIELDS
from fwplan.spec.unions import members

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from fwplan.configs.expressions import Value

# The fields of every architecture, of which a document may be any; nanoGPT's and GPT-2 scripts' are GPT-2's.
MODEL_FIELDS = frozenset(name for _, one in members(AnyArchitecture) for name in one.model_fields)
_GPT2_FIELDS = frozenset(ModelSpec.model_fields)
TRAIN_FIELDS = frozenset(TrainSpec.model_fields | FIELDS)

# Other people's names for our fields: nanoGPT's, nanochat's, Hugging Face's.
ALIASES = {
    "batch_size": "micro_batch_size",
    "device_batch_size": "micro_batch_size",
    "per_device_train_batch_size": "micro_batch_size",
    "block_size": "context_length",
    "n_positions": "context_length",
    "n_ctx": "context_length",
    "max_position_embeddings": "context_length",
    "num_hidden_layers": "n_layer",
    "num_attention_heads": "n_head",
    "hidden_size": "n_embd",
    "tie_word_embeddings": "tied_embeddings",
    "resid_pdrop": "dropout",
    "max_iters": "max_steps",
    "warmup_iters": "warmup_steps",
    "eval_iters": "eval_batches",
}
# Settings that are no field of a spec, but that decide one. gradient_accumulation_steps is the total over all
# processes, total_batch_size is tokens per optimizer step.
DECIDERS = frozenset(
    {
        "gradient_accumulation_steps",
        "total_batch_size",
        "device",
        "init_from",
        "dataset",
        "decay_lr",
        "lr_decay_iters",
        "eval_only",
    }
)
# Different ways to say one thing: where a later layer uses one of them, an earlier layer's others no longer count.
ACCUMULATION = frozenset({"grad_accum_steps", "gradient_accumulation_steps", "total_batch_size"})
_RIVALS = (
    ACCUMULATION,
    frozenset({"max_steps", "max_tokens"}),
)
# Unknown values of these change neither memory nor the time of a step; everything else that is unknown matters.
HARMLESS_IF_UNKNOWN = frozenset(
    {
        "learning_rate",
        "min_lr",
        "warmup_steps",
        "weight_decay",
        "beta1",
        "beta2",
        "eval_interval",
        "eval_batches",
        "checkpoint_interval",
        "seed",
        "max_steps",
        "max_tokens",
        "decay_lr",
        "lr_decay_iters",
        "eval_only",
        "dataset",
    }
)
# People write max_iters = 6e5, and Python's range of uses for it forgives them.
_MAY_BE_WHOLE_FLOAT = frozenset({"max_steps", "max_tokens", "warmup_steps", "eval_interval", "total_batch_size"})

# What people call a shape's fields where no nanoGPT reads them: in a model's own class, a dict, a JSON file.
SHAPE_NAMES = {
    **dict.fromkeys(("dim", "d_model", "model_dim", "embed_dim", "emb_dim", "n_embed", "n_emb", "emb_size"), "n_embd"),
    **dict.fromkeys(("embedding_dim", "embed_size", "embedding_size", "d_embd", "width", "hidden_dim"), "n_embd"),
    **dict.fromkeys(("n_layers", "num_layers", "layers", "depth", "n_blocks", "num_blocks", "nlayer"), "n_layer"),
    **dict.fromkeys(("n_heads", "num_heads", "heads", "nhead", "nheads"), "n_head"),
    **dict.fromkeys(("max_seq_len", "max_seq_length", "seq_len", "seq_length", "ctx_len"), "context_length"),
    **dict.fromkeys(("context_size", "context_window", "max_len", "max_length", "max_context"), "context_length"),
    **dict.fromkeys(("n_vocab", "vocab", "num_tokens", "vocabulary_size"), "vocab_size"),
    **dict.fromkeys(("bs", "B", "train_batch_size", "microbatch_size", "micro_batch"), "micro_batch_size"),
    **dict.fromkeys(("drop_rate", "dropout_rate", "dropout_p"), "dropout"),
    **dict.fromkeys(("grad_accum", "accumulation_steps", "accum_steps"), "grad_accum_steps"),
}
ASKED = {"micro_batch_size": "batch_size", "context_length": "block_size"}  # by the names that people type
SHAPE = ("n_layer", "n_head", "n_embd", "vocab_size", "context_length")

Kind: TypeAlias = Literal[
    "nanogpt", "script", "spec", "plan", "hf", "json", "nanochat", "autoresearch", "minimind", "litgpt", "torchtitan"
]
Origin: TypeAlias = Literal["default", "file", "override"]


@dataclass(frozen=True)
class Setting:
    """One value as somebody wrote it: under which name, where, and whether it could be read (`reason` is None)."""

    name: str
    value: Value = None
    line: int | None = None
    reason: str | None = None
    origin: Origin = "file"

    def place(self, path: str) -> str:
        """Return where to look: "config.py:9", or "--batch_size", or the file where it is a default."""
        if self.origin == "override":
            return f"--{self.name}"
        return path if self.line is None else f"{path}:{self.line}"

    def __str__(self) -> str:
        where = f"line {self.line}" if self.line is not None else self.origin
        return f"{self.name} = {self.value!r} ({where})"


Settings: TypeAlias = dict[str, Setting]


@dataclass(frozen=True)
class Unknown:
    """What stands against a verdict: a setting that matters and could not be read, or structure that is not counted.

    `line` is None where the file does not hold it at all; `value` is what the user may say of it, None: nothing helps.
    """

    key: str
    line: int | None
    reason: str
    value: str | None = "VALUE"

    def __str__(self) -> str:
        return f"{self.key} (line {self.line})" if self.line is not None else self.key


@dataclass
class Reading:
    """What has been read so far: settings by canonical name, and what there is to say about them."""

    path: str
    kind: Kind
    settings: Settings
    said: Mapping[str, Value] = field(default_factory=dict)  # every setting by name, ours or not
    data: Path | None = None  # the folder of its data set, where that can be seen
    assumed: str = ""  # the defaults of another's script, where the file alone does not say
    notes: list[str] = field(default_factory=list)
    unknown: list[Unknown] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    uncounted: list[str] = field(default_factory=list)
    document: dict[str, Any] = field(default_factory=dict)  # for parse_spec; empty where something is unknown

    def put(self, key: str, value: Value, source: Setting) -> None:
        """Set a field to what `source` implies for it; errors about the field then point at `source`."""
        self.settings[key] = Setting(source.name, value, source.line, origin=source.origin)

    def pass_over(self, name: str, line: int | None, value: Value) -> None:
        """Record a setting that means nothing here: one that may change memory lowers the confidence."""
        place = f"{name} (line {line})" if line is not None else name
        (self.uncounted if may_change_memory(name, value) else self.ignored).append(place)
        meant = _similar(name, _TYPO)[:1]
        if meant:
            self.notes.append(f"{place} is no setting: did you mean {meant[0]}?")

    def judge(self, others: Mapping[str, Setting]) -> None:
        """Go through the settings that are none of ours: structure that is not counted, a slip of a shape's name."""
        values = {key: setting.value for key, setting in self.settings.items()}
        off = switched_off({name: setting.value for name, setting in others.items()})
        for name, setting in others.items():
            found = structure(name, setting.value, values)
            if setting.reason is None and found is not None and found not in off:
                self.refuse(f"{name} = {setting.value!r}", setting.line, found)
            elif (meant := self._shape_meant(name)) is not None and setting.value is not None:
                self.unknown.append(
                    Unknown(meant, setting.line, f"{name} is no setting of this script", value=str(setting.value))
                )
            elif found is None or found not in off:
                self.pass_over(name, setting.line, setting.value)

    def _shape_meant(self, name: str) -> str | None:
        """Return the field of the shape that somebody may have meant by a name, where nothing else sets it."""
        key = shape_like(name)
        if key is None or self.settings.get(key, _NOTHING).origin != "default":
            return None
        return self.settings[key].name if key in self.settings else key

    def miss(self, key: str, setting: Setting, reason: str) -> None:
        """Record that a value which matters cannot be known."""
        self.unknown.append(Unknown(key, setting.line, reason))

    def ask(self, needed: Iterable[str]) -> None:
        """Record what a run needs and nothing says, by the names that people type."""
        for key in needed:
            if key not in self.settings:
                self.unknown.append(Unknown(ASKED.get(key, key), None, "nothing in the file says it"))

    def refuse(self, what: str, line: int | None, reason: str) -> None:
        """Record something that is not counted, whatever the user says."""
        self.unknown.append(Unknown(what, line, reason, value=None))


_NOTHING = Setting("", origin="default")
_SHAPE_KEYS = frozenset({*SHAPE, "micro_batch_size", "batch_size", "block_size"})


def canonical(name: str) -> str | None:
    """Return the one name that this tool uses for a setting, or None where it knows none of that name."""
    name = ALIASES.get(name, name)
    return name if name in _GPT2_FIELDS | TRAIN_FIELDS | DECIDERS else None


def merge(found: Iterable[Setting], path: str, name: Callable[[str], str | None] = canonical) -> Settings:
    """Return the settings of one layer by the names that `name` gives them: their canonical ones.

    Raises:
        FwplanError: two names of one setting disagree.
    """
    merged: Settings = {}
    for setting in found:
        key = name(setting.name) or setting.name
        before = merged.get(key)
        if before is not None and (before.value, before.reason) != (setting.value, setting.reason):
            raise FwplanError(
                f"{key} is set twice: {before} and {setting}",
                where=setting.place(path),
                hint=f"keep one of {before.name} and {setting.name}",
            )
        merged[key] = setting
    return merged


def layer(below: Settings, above: Settings) -> Settings:
    """Return both layers' settings, `above` winning, also over other ways to say the same thing."""
    beaten = frozenset().union(*(group for group in _RIVALS if group & above.keys()))
    return {key: setting for key, setting in below.items() if key not in beaten} | above


def read_overrides(
    overrides: Sequence[str], *, harmless: frozenset[str] = frozenset(), own: Iterable[str] = ()
) -> Settings:
    """Return the settings in "--key=value" strings; of several for one setting the last wins.

    `own` are names that the file itself sets: they may be overridden whatever they mean.

    Raises:
        FwplanError: not of that form, or a key that is neither a known setting nor in `harmless` nor in `own`.
    """
    read: Settings = {}
    for override in overrides:
        name, equals, text = override.removeprefix("--").partition("=")
        if not equals or not name or len(override) > 1000:
            raise FwplanError(f"cannot read override {override[:80]!r}", hint="write it like --batch_size=8")
        key = name if name in own else canonical(name)
        if key is None and name not in harmless:
            near = _similar(name)
            hint = f"did you mean {' or '.join(near)}?" if near else "known ones are the fields of spec.json"
            raise FwplanError(f"unknown setting {name!r} in override {override!r}", hint=hint)
        if key is not None:
            read = layer(read, {key: Setting(name, read_value(text), origin="override")})
    return read


def own_overrides(overrides: Sequence[str]) -> Settings:
    """Return overrides by the names that they were typed with, known here or not."""
    pairs = (override.removeprefix("--").partition("=") for override in overrides)
    return {name: Setting(name, read_value(text), origin="override") for name, equals, text in pairs if equals}


_TYPO = 0.85  # a name as like a setting's as this was meant to be it


def _similar(name: str, cutoff: float = 0.6) -> list[str]:
    """Return the known settings whose names are like this one, the likest first."""
    known = sorted(_GPT2_FIELDS | TRAIN_FIELDS | DECIDERS | ALIASES.keys())
    return difflib.get_close_matches(name[:100], known, n=3, cutoff=cutoff)


def shape_like(name: str) -> str | None:
    """Return the field of the shape, or the micro-batch, that somebody may have meant by a name; None: none of them."""
    meant = SHAPE_NAMES.get(name) or next((key for key in _similar(name, _TYPO) if key in _SHAPE_KEYS), None)
    return None if meant is None else ALIASES.get(meant, meant)


def whole(setting: Setting, path: str) -> int:
    """Return a setting's value as a positive integer.

    Raises:
        FwplanError: it is none.
    """
    value = setting.value
    if isinstance(value, float) and value.is_integer() and canonical(setting.name) in _MAY_BE_WHOLE_FLOAT:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise FwplanError(
            f"{setting} must be a positive integer", where=setting.place(path), hint="write a whole number, 1 or more"
        )
    return value


def grad_accum_steps(settings: Settings, path: str) -> Setting | None:
    """Return micro-batches per optimizer step and process, from whichever setting says it; None where none does.

    Raises:
        FwplanError: a total that does not divide by the processes, or two settings that disagree.
    """
    world = whole(settings["world_size"], path) if "world_size" in settings else 1
    said: list[tuple[Setting, int]] = []
    for key in sorted(ACCUMULATION & settings.keys()):
        setting = settings[key]
        unit, meaning = _accumulation_unit(key, settings, world, path)
        total = whole(setting, path)
        if total % unit:
            raise FwplanError(
                f"{setting} does not divide by {meaning}", where=setting.place(path), hint="choose a multiple of it"
            )
        said.append((setting, total // unit))
    if len({steps for _, steps in said}) > 1:
        (first, a), (second, b), *_ = said
        raise FwplanError(
            f"{first} means {a} micro-batches per step and process, {second} means {b}",
            where=second.place(path),
            hint="keep one of them",
        )
    return Setting(said[0][0].name, said[0][1], said[0][0].line, origin=said[0][0].origin) if said else None


def _accumulation_unit(key: str, settings: Settings, world: int, path: str) -> tuple[int, str]:
    if key == "grad_accum_steps":
        return 1, "1"
    if key == "gradient_accumulation_steps":
        return world, f"the {world} processes that share it"
    micro = whole(settings["micro_batch_size"], path)
    sequence = settings.get("sequence_length")
    if sequence is None or sequence.value is None:
        sequence = settings["context_length"]
    tokens = whole(sequence, path)
    return micro * tokens * world, f"{micro} x {tokens} x {world} tokens per round of micro-batches"


def device_type(setting: Setting, path: str) -> str:
    """Return "cuda", "cpu" or "mps" for a device such as "cuda:0".

    Raises:
        FwplanError: it is none of them.
    """
    kind = str(setting.value).partition(":")[0]
    if kind not in {"cuda", "cpu", "mps"}:
        raise FwplanError(f"{setting} is no device", where=setting.place(path), hint="cpu, cuda, cuda:0, ... or mps")
    return kind


def assemble(settings: Settings, path: str) -> dict[str, Any]:
    """Return the document for `parse_spec`; a device is in it only where somebody named one."""
    document: dict[str, Any] = {"model": {}, "train": {}}
    for key, setting in settings.items():
        value = setting.value
        if key in _MAY_BE_WHOLE_FLOAT and isinstance(value, float) and value.is_integer():
            value = int(value)
        if key in MODEL_FIELDS:
            document["model"][key] = value
        elif key in TRAIN_FIELDS:
            document["train"][key] = value
    if "device" in settings and settings["device"].origin != "default":
        document["device"] = {"type": device_type(settings["device"], path)}
    return document


def fields(settings: Mapping[str, Setting]) -> dict[str, Setting]:
    """Return the settings by the dotted path of their spec field: "train.micro_batch_size"."""
    sections = {"model": MODEL_FIELDS, "train": TRAIN_FIELDS}
    return {
        f"{section}.{key}": setting
        for key, setting in settings.items()
        for section, known in sections.items()
        if key in known
    }
