"""What is said of a run: its config as read, its estimate, what would change it; and the commands that say it again."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from fwplan.errors import FwplanError
from fwplan.planning.plan import Plan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from fwplan.configs import LoadedConfig
    from fwplan.estimation.estimate import Estimate
    from fwplan.estimators.levels import Verdict
    from fwplan.explaining.audit import Claim
    from fwplan.planning.fixes import Fix
    from fwplan.tracing.traced import Traced


@dataclass(frozen=True)
class Explanation:
    """A config as read, its estimate, what would change it, and the common card sizes (GB) it fits with margin."""

    loaded: LoadedConfig
    estimate: Estimate
    fixes: tuple[Fix, ...]
    fitting_gb: tuple[int, ...]  # empty where a device was named
    command: str  # what to type for the same again
    traced: Traced | None = None  # where a trace was asked for
    claims: tuple[Claim, ...] = ()  # of the config's comments
    fix: int | None = None  # the one of the config's own fixes that the run has applied
    written: Path | None = None  # the plan that the run was written to

    @property
    def numbered(self) -> bool:
        """Whether `--fix` takes the numbers of these fixes: those of a fixed run count once it is written."""
        return self.fix is None or self.written is not None

    @property
    def runnable(self) -> Path | None:
        """The file to train this very run from; None: it is not written yet."""
        if self.written is not None:
            return self.written
        changed = self.fix is not None or " -- " in self.command
        return self.loaded.path if self.loaded.kind in {"plan", "spec"} and not changed else None

    def saved(self, path: str | Path) -> Explanation:
        """Write the run as a plan and return the explanation of what stands there.

        Raises:
            FwplanError: it never trains.
        """
        if self.loaded.eval_only:
            raise FwplanError("a run that only evaluates has no plan", hint=training_command(self.loaded.path))
        where = Plan.of(self.estimate, f"as in {self.loaded.path}").save(path)
        return replace(self, written=where, command=command_to("explain", where, (), {}))

    def to_save(self, number: int | str | None = None) -> str:
        """Return the command that writes the run as a plan: as it is, or with the fix of this number applied."""
        command, _, overrides = self.command.partition(" -- ")
        taken = self.written or self.loaded.path
        place = "plan.json" if taken.name != "plan.json" else "plan2.json"
        if not self.numbered:
            number = self.fix
        fix = f" --fix {number}" if number is not None else ""
        return f"{command}{fix} -o {place}" + (f" -- {overrides}" if overrides else "")

    @property
    def verdict(self) -> Verdict:
        """Whether the run fits: by replay of its trace where there is one, else by the closed form's interval."""
        by_replay = self.traced.verdict if self.traced else None
        return by_replay or self.estimate.verdict

    def as_dict(self) -> dict[str, Any]:
        """Return the explanation as `explain --json` prints it."""
        return self.estimate.as_dict() | {
            "fixes": [
                {"number": n if fix.helps and self.numbered else None} | fix.as_dict()
                for n, fix in enumerate(self.fixes, 1)
            ],
            "eval_only": self.loaded.eval_only,
            "fits_cards_gb": list(self.fitting_gb),
            "notes": [*self.loaded.all_notes, *self.estimate.notes],
            "ignored": list(self.loaded.ignored),
            "uncounted": list(self.loaded.uncounted),
            "confidence": "lowered" if self.loaded.uncounted else "full",
            "claims": [claim.as_dict() for claim in self.claims],
            "verdict": self.verdict,
            "trace": self.traced.as_dict() if self.traced else None,
        }


def training_command(config: str | Path) -> str:
    """Return the command that judges an eval_only config as if it trained."""
    return command_to("explain", config, ["--eval_only=False"], {})


def command_to(verb: str, config: str | Path, overrides: Sequence[str], options: Mapping[str, object]) -> str:
    """Return the command of a verb for a config, with the files that come after it, options and --key=value."""
    files = [one for one in overrides if not one.startswith("--")]
    words = ["fwplan", verb, str(config), *files]
    words += [word for name, value in options.items() if value is not None for word in (name, str(value))]
    changes = [one for one in overrides if one.startswith("--")]
    return shlex.join([*words, *(["--", *changes] if changes else [])])
