"""AudioLDM's original checkpoints (UNet, VAE, CLAP and vocoder in one file) into a decoder folder.

The names are derived from the target: for every tensor of the diffusers and transformers modules, where the
original keeps it. So nothing can be forgotten, and what the file has beyond that must be on the short list of
what is left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from anygen.decoders.official import SCHEDULERS, audioldm, build_networks
from anygen.decoders.parts import CLASSES, PIPELINES
from anygen.errors import WeightsMismatch
from anygen.modality import Modality

from .layout import ANY_FLOAT, Entry, Layout, check_layout, check_one_type
from .request import TOKENIZER_FILES, ImportReport, ImportRequest, copy_files, report
from .writing import Planned, importing, write_json, write_tensors

WIDTHS = (128, 192, 256)
"""UNet widths of the published models: -s and -s-full, -m-full, -l and -l-full."""
LEFT_OUT = (
    "model_ema.", "cond_stage_model.model.audio_", "cond_stage_model.model.text_transform.",
    "cond_stage_model.model.logit_scale", "cond_stage_model.model.text_branch.embeddings.position_ids",
    "betas", "alphas_cumprod", "sqrt_", "log_one_minus_", "posterior_", "lvlb_weights", "logvar",
)  # fmt: skip
"""Beginnings of names that generation does not need: training's averages, CLAP's audio half, noise tables."""
_UNET, _VAE, _VOCODER = "model.diffusion_model.", "first_stage_model.", "first_stage_model.vocoder."
_CLAP, _SCALE = "cond_stage_model.model.", "scale_factor"
_FIRST = _UNET + "input_blocks.0.0.weight"

_RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0", "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip
_UNET_ENDS = {
    "conv_in.": "input_blocks.0.0.", "time_embedding.linear_1.": "time_embed.0.",
    "time_embedding.linear_2.": "time_embed.2.", "class_embedding.": "film_emb.",
    "conv_norm_out.": "out.0.", "conv_out.": "out.2.",
}  # fmt: skip
_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def unet_name(name: str, config: Mapping[str, Any]) -> str:
    """Say where an original latent-diffusion UNet keeps a tensor.

    Args:
        name: in diffusers' UNet2DConditionModel.
        config: its configuration.

    Returns:
        The name below `model.diffusion_model.`.
    """
    for new, old in _UNET_ENDS.items():
        if name.startswith(new):
            return old + name.removeprefix(new)
    depth = config["layers_per_block"]
    if match := re.match(r"mid_block\.(resnets|attentions)\.(\d)\.(.+)", name):
        place = 2 * int(match[2]) if match[1] == "resnets" else 1
        return f"middle_block.{place}.{_inner(match[1], match[3])}"
    match = re.match(r"(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)\.(.+)", name)
    if match is None:
        raise WeightsMismatch(
            f"found the UNet tensor {name}, expected a known place; this layout is not read"
        )
    side, block, kind, index, rest = match[1], int(match[2]), match[3], int(match[4]), match[5]
    per_block = depth + 1
    if side == "down":
        if kind == "downsamplers":
            return f"input_blocks.{(block + 1) * per_block}.0.op.{rest.removeprefix('conv.')}"
        place = 1 + block * per_block + index
        return f"input_blocks.{place}.{int(kind == 'attentions')}.{_inner(kind, rest)}"
    if kind == "upsamplers":
        last = 2 if config["up_block_types"][block].startswith("CrossAttn") else 1
        return f"output_blocks.{(block + 1) * per_block - 1}.{last}.{rest}"
    return f"output_blocks.{block * per_block + index}.{int(kind == 'attentions')}.{_inner(kind, rest)}"


def _inner(kind: str, rest: str) -> str:
    if kind == "attentions":
        return rest
    name, _, end = rest.rpartition(".")
    return f"{_RESNET[name]}.{end}"


def vae_name(name: str, config: Mapping[str, Any]) -> str:
    """Say where an original latent-diffusion VAE keeps a tensor.

    Args:
        name: in diffusers' AutoencoderKL.
        config: its configuration.

    Returns:
        The name below `first_stage_model.`.
    """
    name = name.replace("conv_norm_out.", "norm_out.").replace("conv_shortcut.", "nin_shortcut.")
    if match := re.match(r"(encoder|decoder)\.mid_block\.resnets\.(\d)\.(.+)", name):
        return f"{match[1]}.mid.block_{int(match[2]) + 1}.{match[3]}"
    if match := re.match(r"(encoder|decoder)\.mid_block\.attentions\.0\.(.+)\.(\w+)", name):
        return f"{match[1]}.mid.attn_1.{_VAE_ATTENTION[match[2]]}.{match[3]}"
    if match := re.match(r"encoder\.down_blocks\.(\d)\.(.+)", name):
        return f"encoder.down.{match[1]}.{_vae_block(match[2])}"
    if match := re.match(r"decoder\.up_blocks\.(\d)\.(.+)", name):
        return f"decoder.up.{len(config['block_out_channels']) - 1 - int(match[1])}.{_vae_block(match[2])}"
    return name


def _vae_block(rest: str) -> str:
    rest = re.sub(r"^resnets\.", "block.", rest)
    return re.sub(r"^(down|up)samplers\.0\.", r"\1sample.", rest)


def clap_name(name: str, config: Mapping[str, Any]) -> str:
    """Say where the original CLAP keeps a tensor of its text half.

    Args:
        name: in transformers' ClapTextModelWithProjection.
        config: its configuration.

    Returns:
        The name below `cond_stage_model.model.`.
    """
    name = re.sub(r"^text_model\.", "text_branch.", name)
    return name.replace("text_projection.linear1.", "text_projection.0.").replace(
        "text_projection.linear2.", "text_projection.2."
    )


def vocoder_name(name: str, config: Mapping[str, Any]) -> str:
    """Say where the original HiFi-GAN keeps a tensor: `upsampler` is `ups` there.

    Args:
        name: in transformers' SpeechT5HifiGan.
        config: its configuration.

    Returns:
        The name below `first_stage_model.vocoder.`.
    """
    return re.sub(r"^upsampler\.", "ups.", name)


_NAMES: dict[str, tuple[str, Callable[[str, Mapping[str, Any]], str]]] = {
    "unet": (_UNET, unet_name),
    "vae": (_VAE, vae_name),
    "text_encoder": (_CLAP, clap_name),
    "vocoder": (_VOCODER, vocoder_name),
}
Configs = dict[str, dict[str, Any]]
"""Per part what its config.json says."""


def audioldm_table(
    configs: Configs,
) -> tuple[Layout, dict[str, dict[str, str]], dict[str, dict[str, Tensor]]]:
    """Make the table of an original checkpoint.

    Args:
        configs: of the decoder that it becomes.

    Returns:
        The original's layout; per part the original name of each tensor; and per part the tensors that the
        original does not have (position ids, a normalisation that AudioLDM does not use), on the meta device.
    """
    layout: Layout = {_SCALE: Entry((), ANY_FLOAT)}
    names: dict[str, dict[str, str]] = {}
    constants: dict[str, dict[str, Tensor]] = {}
    for part, network in build_networks(Modality.AUDIO, configs).items():
        prefix, rename = _NAMES[part]
        names[part], constants[part] = {}, {}
        buffers = {name for name, _ in network.named_buffers()}
        for name, tensor in network.state_dict().items():
            if name in buffers:
                constants[part][name] = tensor
                continue
            original = prefix + rename(name, configs[part])
            shape = tuple(tensor.shape)
            if _is_matrix(name, part, 2 * len(shape)):
                shape = (*shape, 1, 1)
            layout[original], names[part][name] = Entry(shape, ANY_FLOAT), original
    return layout, names, constants


def import_audioldm(request: ImportRequest, configs: Configs | None = None) -> ImportReport:
    """Import an original AudioLDM checkpoint.

    Args:
        request: what to import, and where to; `tokenizer` names RoBERTa's files.
        configs: of the decoder; None takes the published ones of the width that the file has.

    Returns:
        What was done. The folder is a decoder in the layout of diffusers' AudioLDMPipeline.

    Raises:
        MissingPart: when the file is missing.
        CheckpointCorrupt: when it is damaged or no plain tensors.
        WeightsMismatch: unless it has every tensor of the decoder, and nothing unknown.
    """
    source = request.open()
    if configs is None:
        first = source.tensors.get(_FIRST)
        found = first.shape[0] if first is not None and first.ndim else WIDTHS[-1]
        configs = audioldm(found if found in WIDTHS else WIDTHS[-1])
    layout, names, constants = audioldm_table(configs)
    tensors = check_layout(source.tensors, layout, source.path.name, ignored=LEFT_OUT)
    check_one_type({k: t for k, t in tensors.items() if k != _SCALE}, source.path.name)
    left = len(source.tensors) - len(tensors)
    with importing(request.destination, "audioldm", source) as draft:
        for part, table in names.items():
            weights: dict[str, Tensor | Planned] = {
                new: tensors[old][:, :, 0, 0] if _is_matrix(new, part, tensors[old].ndim) else tensors[old]
                for new, old in table.items()
            }
            weights |= {name: _constant(name, tensor) for name, tensor in constants[part].items()}
            diffusers = CLASSES[Modality.AUDIO][part][0] == "diffusers"
            file = "diffusion_pytorch_model.safetensors" if diffusers else "model.safetensors"
            write_tensors(draft / part / file, weights)
            write_json(draft / part / "config.json", _config(part, configs, tensors))
        write_json(draft / "scheduler" / "scheduler_config.json", SCHEDULERS[Modality.AUDIO])
        write_json(draft / "model_index.json", _index())
        copied = request.tokenizer and copy_files(request.tokenizer, draft / "tokenizer", TOKENIZER_FILES)
    notes: tuple[str, ...] = (f"{left} tensors left out: averages, CLAP's audio half, noise tables",)
    if not copied:
        notes += ("no tokenizer: give RoBERTa's with --tokenizer, captions cannot be encoded without",)
    return report("audioldm", source, tensors, notes)


def _is_matrix(name: str, part: str, ndim: int) -> bool:
    """Whether the original has a 1 x 1 convolution (4 axes) where diffusers has a matrix."""
    return part == "vae" and ".mid_block.attentions." in name and ndim == 4


def _constant(name: str, tensor: Tensor) -> Planned:
    """Values of a tensor that the original does not store."""
    shape, dtype = tuple(tensor.shape), tensor.dtype
    if name.endswith("position_ids"):
        return Planned(
            shape=shape, dtype=dtype, make=lambda: torch.arange(shape[-1]).expand(shape).contiguous()
        )
    make = torch.ones if name == "scale" else torch.zeros
    return Planned(shape=shape, dtype=dtype, make=partial(make, shape, dtype=dtype))


def _config(part: str, configs: Configs, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    library, name = CLASSES[Modality.AUDIO][part]
    values = dict(configs[part])
    if part == "vae":
        values["scaling_factor"] = float(tensors[_SCALE])
    if library == "diffusers":
        return {"_class_name": name, **values}
    kind = "clap_text_model" if part == "text_encoder" else "hifigan"
    return {"architectures": [name], "model_type": kind, **values}


def _index() -> dict[str, Any]:
    parts = {part: list(entry) for part, entry in CLASSES[Modality.AUDIO].items()}
    parts["scheduler"] = ["diffusers", SCHEDULERS[Modality.AUDIO]["_class_name"]]
    parts["tokenizer"] = ["transformers", "RobertaTokenizerFast"]
    return {"_class_name": PIPELINES[Modality.AUDIO], **parts}
