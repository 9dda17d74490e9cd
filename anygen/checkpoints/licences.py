"""Licences that restrict what a model may be used for: shown before its first use, and asked for once.

Weights under a permissive or share-alike licence ask for nothing at run time; everything else with a name
(non-commercial, use-restricted, community licences) does. What was accepted is remembered by part and
licence, so another model with the same part does not ask again, and a part that changes its licence does.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from anygen.config import AnyGenConfig
from anygen.errors import LicenceNotAccepted

from .manifest import write_atomic

PERMISSIVE = frozenset(
    {
        "0bsd", "apache-2.0", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-3.0", "cc-by-4.0",
        "cc-by-sa-3.0", "cc-by-sa-4.0", "isc", "mit", "mpl-2.0", "unlicense", "zlib", "unknown", "",
    }
)  # fmt: skip
"""SPDX names, in lower case, of licences that do not restrict use; parts of one's own have none yet."""

FILE = "accepted-licences.json"


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What one part of a model asks of whoever uses it."""

    part: str
    """The part's folder."""
    source: str
    """Whose weights they are."""
    licence: str
    """Their licence."""

    @property
    def key(self) -> str:
        """What is remembered."""
        return f"{self.source} | {self.licence}"

    def __str__(self) -> str:
        """One line for people."""
        return f"{self.part}: {self.source}, {self.licence}"


def restricted(config: AnyGenConfig, parts: Iterable[str] = ("",)) -> list[Terms]:
    """The parts of a model whose licences restrict their use.

    Args:
        config: the model's.
        parts: beginnings of the names of the parts that will be used.

    Returns:
        Terms in the order of the data, each kind of weights once.
    """
    found: dict[str, Terms] = {}
    for name, part in config.parts().items():
        if name.startswith(tuple(parts)) and part.licence.lower() not in PERMISSIVE:
            terms = Terms(part=name, source=part.source, licence=part.licence)
            found.setdefault(terms.key, terms)
    return list(found.values())


def default_store() -> Path:
    """The file in which acceptances are remembered, by the XDG base directories.

    Returns:
        Below `XDG_CONFIG_HOME`, or below `~/.config`.
    """
    root = os.environ.get("XDG_CONFIG_HOME", "")
    home = Path(root) if os.path.isabs(root) else Path.home() / ".config"
    return home / "anygen" / FILE


def pending(terms: Sequence[Terms], store: Path | None = None) -> list[Terms]:
    """Those that were not accepted before.

    Args:
        terms: from `restricted`.
        store: file of acceptances; None for the user's.
    """
    known = _read(store or default_store())
    return [one for one in terms if one.key not in known]


def accept(terms: Sequence[Terms], store: Path | None = None) -> bool:
    """Remember acceptances.

    Args:
        terms: what was accepted.
        store: file of acceptances; None for the user's.

    Returns:
        Whether they could be written down; if not, the next use asks again.
    """
    path = store or default_store()
    accepted = sorted(_read(path) | {one.key for one in terms})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, (json.dumps({"accepted": accepted}, indent=2) + "\n").encode())
    except OSError:
        return False
    return True


def check_licences(
    config: AnyGenConfig,
    *,
    accepted: bool = False,
    parts: Iterable[str] = ("",),
    store: Path | None = None,
) -> None:
    """Let a model be used, or say whose terms must be accepted first.

    Args:
        config: the model's.
        accepted: the caller accepts all of them, which is remembered.
        parts: as for `restricted`.
        store: file of acceptances; None for the user's.

    Raises:
        LicenceNotAccepted: some were never accepted.
    """
    terms = restricted(config, parts)
    missing = pending(terms, store) if terms else []
    if missing and accepted:
        accept(missing, store)
    elif missing:
        raise LicenceNotAccepted(refusal(config.name, missing))


def refusal(name: str, terms: Sequence[Terms]) -> str:
    """The one line that says what must be accepted.

    Args:
        name: of the model.
        terms: what was not accepted.
    """
    listed = "; ".join(f"{one.source} ({one.licence})" for one in terms)
    return (
        f"Found parts of {name} whose licences restrict their use and were not accepted: {listed}. Read "
        "them, then accept with --accept-license, or accept_license=True in Python; it is asked once."
    )


def _read(path: Path) -> set[str]:
    """What was accepted; a file that cannot be read has nothing in it."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))["accepted"]
    except (OSError, ValueError, KeyError, TypeError):
        return set()
    return {value for value in values if isinstance(value, str)} if isinstance(values, list) else set()
