"""What the headers and configurations of a model say about its memory: weights, reading, and work."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anygen.checkpoints.inspection import inspect_model
from anygen.checkpoints.resolve import bundled_names, part_folder, read_config, resolve
from anygen.config import AnyGenConfig, read_json
from anygen.encoders.halves import half_of
from anygen.errors import CheckpointCorrupt
from anygen.modality import Modality
from anygen.presets import PRESETS

from .residency import MIB, Cost

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Bytes of a number in every type that a model may compute in."""
QUANTIZED = {"8bit": 1.0, "4bit": 0.5625}
"""Bytes of a number of a quantized layer; in 4 bits with a float32 scale for every 64 (arXiv 2305.14314)."""
RUNTIME = {"cpu": 450 * MIB, "cuda": 600 * MIB}
"""The interpreter with its libraries on the CPU, measured; context and kernels on a GPU."""
_STORED = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "U8": 1, "I8": 1, "BOOL": 1}
_NAMES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


@dataclass(frozen=True, kw_only=True)
class _Tensor:
    """One line of a safetensors header."""

    name: str
    """Its key."""
    shape: tuple[int, ...]
    """Its shape."""
    kind: str
    """Its type on disk."""

    @property
    def count(self) -> int:
        """Numbers in it."""
        return math.prod(self.shape)


class Sizes:
    """What the headers and configurations of a model say."""

    def __init__(self, model: str | Path, *, place: str, quantization: str | None, batch_size: int) -> None:
        self.place, self.quantization, self._batch = place, quantization, batch_size
        self._folder: Path | None = None
        self._networks: dict[str, dict[str, list[_Tensor]]] = {}
        if str(model) in PRESETS and str(model) not in bundled_names() and not Path(model).is_dir():
            self._config = PRESETS[str(model)]()
            self._count(str(model))
        else:
            self._folder = resolve(model)
            self._config = read_config(self._folder)
            self._read(self._folder, self._config)

    def _count(self, preset: str) -> None:
        """Take the parameters of a preset as if they were stored in float16."""
        for report in inspect_model(preset):
            name = "llm" if report.name in ("adapter", "signal_rows", "vocabulary") else report.name
            parts = report.components or {"": report.parameters}
            stored = {
                network: [_Tensor(name=network, shape=(count,), kind="F16")]
                for network, count in parts.items()
                if not network.startswith("text_encoder")
            }
            known = self._networks.setdefault(name, {})
            known |= {f"{report.name}/{network}": tensors for network, tensors in stored.items()}

    def _read(self, folder: Path, config: AnyGenConfig) -> None:
        for name, part in config.parts().items():
            if name.startswith("encoder") and not (folder / name).is_dir() and part.reference is None:
                continue
            source = part_folder(folder, name, part)
            if name.startswith("encoder/"):
                used, tower = config.encoder.half_names(), name.partition("/")[2]
                for tensor in _headers(source.glob("*.safetensors")):
                    half = half_of(tower, tensor.name)
                    if half in used:
                        piece = f"encoder/{half}"
                        self._networks.setdefault(piece, {}).setdefault(piece, []).append(tensor)
            elif name == "encoder":
                for tensor in _headers(source.glob("*.safetensors")):
                    pieces = tensor.name.split(".")
                    tower = f"encoder/{pieces[1] if len(pieces) > 1 else 'tower'}"
                    self._networks.setdefault(tower, {}).setdefault(tower, []).append(tensor)
            elif name.startswith("decoders/"):
                self._networks[name] = _decoder_networks(source)
            else:
                label = "llm" if name in ("llm", "adapter") else name
                self._networks.setdefault(label, {})[name] = _headers(source.glob("*.safetensors"))

    def fixed(self) -> int:
        """Bytes of the program and of the projections, which are float32."""
        staying = [n for n in self._networks if n != "llm" and not n.startswith(("encoder", "decoders/"))]
        counts = (t.count for n in staying for tensors in self._networks[n].values() for t in tensors)
        return RUNTIME.get(self.place, RUNTIME["cuda"]) + 4 * sum(counts)

    def costs(self, dtype: str, slicing: bool) -> dict[str, Cost]:
        """Cost of every part that can come and go."""
        found = {}
        for name, networks in self._networks.items():
            if name != "llm" and not name.startswith(("encoder", "decoders/")):
                continue
            weights = sum(self._bytes(label, t, dtype) for label, ts in networks.items() for t in ts)
            on_disk = [
                sum(t.count * _STORED.get(t.kind, 4) for t in ts if _NAMES.get(t.kind) not in (None, dtype))
                for ts in networks.values()
            ]
            found[name] = Cost(
                weights=weights,
                loading=max(on_disk, default=0) if self.place == "cpu" else 0,
                working=self._working(name, dtype, slicing),
            )
        return found

    def _bytes(self, label: str, tensor: _Tensor, dtype: str) -> int:
        """Bytes of a tensor in memory: the adapter stays float32, whole numbers keep their type."""
        if tensor.kind not in _NAMES:
            return tensor.count * _STORED.get(tensor.kind, 4)
        if label.startswith(("adapter", "signal_rows")):
            return tensor.count * 4
        layer = len(tensor.shape) == 2 and "embed" not in tensor.name and "lm_head" not in tensor.name
        if self.quantization and label.startswith("llm") and (layer or self._folder is None):
            return int(tensor.count * QUANTIZED[self.quantization])
        return tensor.count * BYTES[dtype]

    def _working(self, name: str, dtype: str, slicing: bool) -> int:
        if name == "llm":
            return self._answering(BYTES[dtype])
        if name.startswith("encoder"):
            return self._batch * _encoding(self._networks[name], BYTES[dtype])
        modality = Modality(name.partition("/")[2])
        source = None
        if self._folder is not None:
            source = part_folder(self._folder, name, self._config.decoders[modality])
        return _decoding(source, modality, BYTES[dtype], 1 if slicing else self._batch, slicing)

    def _answering(self, width: int) -> int:
        """Key-value cache of a full context, one layer's activations over it, and the logits."""
        context, hidden = self._config.llm.context_length, self._config.llm.hidden_dim
        layers: dict[str, Any] = {}
        if self._folder is not None:
            source = part_folder(self._folder, "llm", self._config.llm)
            layers = read_json(source / "config.json")
        heads = layers.get("num_attention_heads", 32)
        head = layers.get("head_dim") or hidden // heads
        kept = (layers.get("num_key_value_heads") or heads) * head
        cache = 2 * layers.get("num_hidden_layers", 32) * kept * context * width
        inner = 4 * hidden + 3 * layers.get("intermediate_size", 4 * hidden)
        logits = 3 * 4 * layers.get("vocab_size", 32000)
        return int(self._batch * (cache + context * inner * width + logits))


def _headers(paths: Iterable[Path]) -> list[_Tensor]:
    """Read the headers of safetensors files: 8 bytes of length, then JSON."""
    found = []
    for path in sorted(paths):
        try:
            with path.open("rb") as file:
                length = int.from_bytes(file.read(8), "little")
                if length > path.stat().st_size:
                    raise ValueError
                header: dict[str, Any] = json.loads(file.read(length))
            for key, entry in header.items():
                if key != "__metadata__":
                    found.append(_Tensor(name=key, shape=tuple(entry["shape"]), kind=str(entry["dtype"])))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise CheckpointCorrupt(f"{path.name} has no readable header; fetch or build it again.") from None
    return found


def _decoder_networks(source: Path) -> dict[str, list[_Tensor]]:
    """Networks that sampling needs: without text encoders where the empty text is stored."""
    stored = (source / "unconditional.safetensors").is_file()
    networks: dict[str, list[_Tensor]] = {}
    for folder in sorted(path for path in source.iterdir() if path.is_dir()):
        if not (stored and folder.name.startswith("text_encoder")):
            tensors = _headers(folder.glob("*.safetensors"))
            networks |= {folder.name: tensors} if tensors else {}
    return networks


def _encoding(networks: Mapping[str, Sequence[_Tensor]], width: int) -> int:
    """One item of 1024 tokens in the widest layers: in, queries, keys, values, scores, 4 x wider inside."""
    shapes = [t.shape for ts in networks.values() for t in ts if len(t.shape) == 2]
    widest = max((min(shape) for shape in shapes), default=1280)
    return 1024 * widest * 12 * width


def _decoding(source: Path | None, modality: Modality, width: int, batch: int, tiled: bool) -> int:
    """The UNet's widest maps, guidance included, or the autoencoder's last ones, whichever is more."""
    pixels, frames, unet_width, vae_width, factor = 512 * 512, 1, 320, 128, 8
    if modality is Modality.VIDEO:
        pixels, frames = 576 * 320, 24
    if source is not None:
        files = [source / name for name in ("unet/config.json", "vae/config.json", "decoder.json")]
        unet, vae, ours = (dict(read_json(file)) if file.is_file() else {} for file in files)
        defaults = ours.get("defaults", {})
        unet_width = (unet.get("block_out_channels") or [unet_width])[0]
        blocks = vae.get("block_out_channels") or [vae_width] * 4
        vae_width, factor = blocks[0], 2 ** (len(blocks) - 1)
        side = unet.get("sample_size")
        side = factor * side if isinstance(side, int) else None
        pixels = (defaults.get("height") or side or 512) * (defaults.get("width") or side or 512)
        frames = defaults.get("num_frames") or frames
    latent = pixels // factor**2
    tile = min(pixels, 512 * 512) if tiled else pixels
    denoising = 2 * batch * frames * latent * unet_width * 24 * width
    return int(max(denoising, batch * frames * tile * vae_width * 5 * width))
