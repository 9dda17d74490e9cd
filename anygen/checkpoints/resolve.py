"""From what a user types (bundled name, folder, hub id) to a folder on this machine."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from anygen.assembly import ASSEMBLIES
from anygen.config import AnyGenConfig, EncoderConfig, Part, Reference, from_json, read_json
from anygen.encoders.opening import EncoderFolder
from anygen.errors import BadArgument, CheckpointCorrupt, MissingPart
from anygen.presets import PRESETS

CONFIG = "config.json"
"""Name of the file that makes a folder a model folder."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_SAFE_FILES = ["*.json", "*.safetensors", "*.md", "*.txt", "*.jinja", "*.model"]


def bundled_folder() -> Path:
    """Say where the models lie that come with the package.

    Returns:
        The folder, which need not exist.
    """
    return Path(__file__).resolve().parents[1] / "bundled"


def bundled_names() -> list[str]:
    """List the models that come with the package.

    Returns:
        Their names.
    """
    return sorted(path.parent.name for path in bundled_folder().glob(f"*/{CONFIG}"))


def bundled_part(model: str, name: str) -> Path | None:
    """Find a part that ships with the package of a model that is put together elsewhere.

    Args:
        model: name of the model.
        name: the part's, such as "decoders/image".

    Returns:
        Its folder, or None where it does not ship.
    """
    if model not in ASSEMBLIES:
        return None
    places = (bundled_folder() / model / name, bundled_folder() / ASSEMBLIES[model].around / name)
    # of the model around which it is built, the parts that are not trained anew
    found = places[0] if places[0].is_dir() else places[1]
    shared = name.startswith(("encoder", "decoders/"))
    return found if found.is_dir() and (shared or found == places[0]) else None


def resolve(name_or_path: str | Path, *, revision: str | None = None) -> Path:
    """Find a model folder, downloading it when it is a repository of the hub.

    Args:
        name_or_path: bundled name, local folder, or hub id "owner/name"; looked for in that order.
        revision: commit, tag or branch of a hub id.

    Returns:
        A local folder that has a config.json.

    Raises:
        MissingPart: when there is no such model, or the hub cannot be reached.
    """
    name = str(name_or_path)
    if name in bundled_names():
        return bundled_folder() / name
    if name and Path(name).expanduser().is_dir():
        folder = Path(name).expanduser()
        if not (folder / CONFIG).is_file():
            raise MissingPart(f"The folder {name} has no {CONFIG}, expected a model folder; check the path.")
        return folder
    if isinstance(name_or_path, str) and _HUB_ID.fullmatch(name):
        folder = download(Reference(repo_id=name, revision=revision or "main"))
        if not (folder / CONFIG).is_file():
            raise MissingPart(f"The repository {name} has no {CONFIG}, expected a model folder of anygen.")
        return folder
    if name in ASSEMBLIES:
        raise MissingPart(
            f"{name} is put together on this machine, and its language model does not ship with it; type "
            f"{ASSEMBLIES[name].commands(name)}, then give that folder."
        )
    if name in PRESETS:
        raise MissingPart(
            f"{name} is a configuration whose projections are not trained here; train or import them and "
            "give the folder of the model."
        )
    near = difflib.get_close_matches(name, bundled_names(), n=1)
    hint = f"did you mean {near[0]}?" if near else f"bundled: {', '.join(bundled_names()) or 'none'}."
    shown = name if len(name) <= 200 else name[:197] + "..."
    raise MissingPart(f"Found no model {shown!r}, expected a bundled name, a folder or owner/name; {hint}")


def download(reference: Reference) -> Path:
    """Fetch a repository of the hub, or take it from the cache.

    Args:
        reference: repository, revision and folder inside it.

    Returns:
        The local folder. Only JSON, text and safetensors files are fetched: no pickles, no code.

    Raises:
        MissingPart: when it is neither cached nor reachable.
    """
    from huggingface_hub import snapshot_download

    prefix = f"{reference.subfolder}/" if reference.subfolder else ""
    try:
        folder = snapshot_download(
            reference.repo_id,
            revision=reference.revision,
            allow_patterns=[prefix + pattern for pattern in _SAFE_FILES],
        )
    except Exception as error:  # the hub client raises its own, httpx's and the system's errors
        raise MissingPart(
            f"Cannot fetch {reference.repo_id} at {reference.revision} from the hub ({type(error).__name__}) "
            "and it is not in the cache; check the name and the network, or give a local folder."
        ) from None
    return Path(folder) / reference.subfolder


def read_config(folder: Path) -> AnyGenConfig:
    """Read a model folder's config.json.

    Args:
        folder: a model folder.

    Returns:
        The configuration.

    Raises:
        MissingPart: when there is no config.json.
        CheckpointCorrupt: when it does not say what a model folder says.
    """
    if not (folder / CONFIG).is_file():
        raise MissingPart(f"The folder {folder.name} has no {CONFIG}, expected a model folder.")
    try:
        return from_json(AnyGenConfig, read_json(folder / CONFIG), where=CONFIG)
    except BadArgument as error:
        raise CheckpointCorrupt(str(error)) from None


def has_encoder(folder: Path, encoder: EncoderConfig) -> bool:
    """Say whether a model comes with an encoder, in its folder or as references.

    Args:
        folder: the model folder.
        encoder: what its configuration says.
    """
    parts = [encoder, *encoder.towers.values()]
    return (folder / "encoder").is_dir() or any(part.reference is not None for part in parts)


def open_encoder(folder: Path, encoder: EncoderConfig) -> EncoderFolder:
    """Open the encoder of a model; a tower that is a reference is downloaded when it is first needed.

    Args:
        folder: the model folder.
        encoder: what its configuration says.

    Returns:
        The encoder on disk.

    Raises:
        MissingPart: it is neither in the folder nor a reference that can be fetched.
    """
    if encoder.kind == "towers":
        return EncoderFolder(
            folder / "encoder",
            encoder,
            lambda name: part_folder(folder, f"encoder/{name}", encoder.towers[name]),
        )
    return EncoderFolder(part_folder(folder, "encoder", encoder), encoder)


def part_folder(folder: Path, name: str, part: Part) -> Path:
    """Find the folder of one part, downloading it when it is a reference.

    Args:
        folder: the model folder.
        name: the part's name, such as "decoders/image".
        part: what the configuration says of it.

    Returns:
        The part's local folder.

    Raises:
        MissingPart: when it is neither in the folder nor a reference that can be fetched.
    """
    if (folder / name).is_dir():
        return folder / name
    if part.reference is not None:
        return download(part.reference)
    raise MissingPart(
        f"The model has no folder {name} and no reference for it; train or import that part, or use another."
    )
