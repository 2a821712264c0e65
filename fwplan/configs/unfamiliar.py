"""Settings that this tool does not know: which of them may change the memory of a step."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fwplan.configs.expressions import Value

# Words of names that say where a run logs, saves, reads, or how long and how fast it learns: none holds a tensor.
_HARMLESS = {
    *("log", "logs", "logging", "wandb", "tensorboard", "project", "name", "run", "note", "notes", "description"),
    *("author", "entity", "dir", "path", "file", "folder", "root", "save", "ckpt", "url", "repo", "tag", "version"),
    *("date", "time", "seed", "interval", "freq", "frequency", "every", "print", "verbose", "backend", "port", "host"),
    *("master", "node", "nodes", "nproc", "rank", "gpu", "gpus", "workers", "pin", "resume", "data", "dataset"),
    *("tokenizer", "sample", "samples", "temperature", "prompt", "start", "lr", "learning", "rate", "decay", "warmup"),
    *("eps", "epsilon", "patience", "epoch", "epochs", "iters", "iterations", "steps", "api", "key", "metric"),
    *("metrics", "progress", "bar", "upload", "push", "hub", "license", "debug", "profile"),
}


def may_change_memory(name: str, value: Value) -> bool:
    """Return whether an unknown setting may change what a step keeps: it may, unless its name or value says not.

    A switch that is off changes nothing; None is a value that could not be read, or no value, and may be anything.
    """
    return value is not False and not _HARMLESS & set(name.lower().split("_"))
