"""A document's settings by dotted name, each with its line; what a reader has not asked for is left over."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fwplan.configs.documents.shared import as_plain
from fwplan.configs.settings import Setting

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fwplan.configs.settings import Reading


@dataclass
class Keys:
    """Settings such as "train.micro_batch_size".

    Attributes:
        values: each setting; a list is one value.
        lines: where each stands, counted from 1, as far as that is known; of a section too.
        asked: what a reader has asked for, so that the rest can be named.
    """

    values: Mapping[str, Any]
    lines: Mapping[str, int]
    asked: set[str] = field(default_factory=set)

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def get(self, name: str, default: Any = None) -> Setting:
        """Return a setting, or its default where the document does not say it; null is said, and stays None."""
        self.asked.add(name)
        if name not in self.values:
            return Setting(name, default, origin="default")
        return Setting(name, as_plain(self.values[name]), self.lines.get(name))

    def section(self, prefix: str) -> Keys:
        """Return a section's settings by their names in it; what is asked of it is asked of the whole."""
        start = f"{prefix}."
        values = {name.removeprefix(start): value for name, value in self.values.items() if name.startswith(start)}
        self.asked.update(name for name in self.values if name.startswith(start))
        return Keys(values, {name: self.lines[start + name] for name in values if start + name in self.lines})

    def rest(self) -> Iterator[Setting]:
        """Yield what nobody has asked for and is not null."""
        for name, value in self.values.items():
            if name not in self.asked and value is not None:
                yield Setting(name, as_plain(value), self.lines.get(name))


def flattened(document: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every setting of nested sections by its dotted name."""
    for key, value in document.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            yield from flattened(value, f"{name}.")
        else:
            yield name, value


def refuse_others(reading: Reading, keys: Keys, only: Mapping[str, tuple[tuple[Any, ...], str]]) -> None:
    """Refuse what a table of (the values that are counted, what any other makes) does not have."""
    for name, (values, why) in only.items():
        setting = keys.get(name, values[0])
        if setting.value not in values:
            reading.refuse(f"{name} {setting.value!r}"[:80], setting.line, why)
