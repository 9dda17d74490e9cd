"""What a tower's folder says of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from anygen.config import read_json
from anygen.errors import BadArgument, MissingPart

CONFIG_FILE = "config.json"


def read_values(folder: Path, family: str) -> dict[str, Any]:
    """Read a tower's `config.json`.

    Args:
        folder: a folder of transformers.
        family: what the model's configuration says that it is.

    Returns:
        Its contents.

    Raises:
        MissingPart: there is no such file.
        CheckpointCorrupt: it is no JSON.
        BadArgument: it is of another family.
    """
    if not (folder / CONFIG_FILE).is_file():
        raise MissingPart(f"Found no {CONFIG_FILE} in {folder.name}; expected a {family} folder. Fetch it.")
    values = read_json(folder / CONFIG_FILE)
    found = values.get("model_type") if isinstance(values, dict) else None
    if found != family:
        raise BadArgument(
            f"Tower {folder.name} is a {found}, the model's config.json says {family}; correct it."
        )
    return dict(values)
