"""The ImageBind model against the published key list and the golden outputs of the reference."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from anygen.encoders.base import Encoder
from anygen.encoders.imagebind.config import (
    TOWER,
    AudioTowerConfig,
    DepthTowerConfig,
    ImageBindConfig,
    ImuTowerConfig,
    TextTowerConfig,
    ThermalTowerConfig,
    VisionTowerConfig,
    imagebind_huge,
)
from anygen.encoders.imagebind.model import ImageBindModel, end_positions
from anygen.errors import BadArgument, MissingPart
from anygen.modality import Modality

DATA = Path(__file__).parents[1] / "data"
REFERENCE = DATA / "imagebind_reference_small.safetensors"
CASES: dict[str, Modality] = {
    "image": Modality.IMAGE,
    "image252": Modality.IMAGE,
    "video": Modality.VIDEO,
    "text": Modality.TEXT,
    "audio": Modality.AUDIO,
    "audio1": Modality.AUDIO,
    "audio_lo": Modality.AUDIO,
    "depth": Modality.DEPTH,
    "depth_lo": Modality.DEPTH,
    "thermal": Modality.THERMAL,
    "thermal_lo": Modality.THERMAL,
    "imu": Modality.IMU,
    "imu_lo": Modality.IMU,
}


def reference_config(sizes: dict[str, Any], vocab_size: int) -> ImageBindConfig:
    def common(name: str) -> dict[str, Any]:
        return {
            "width": sizes[f"{name}_embed_dim"],
            "num_blocks": sizes[f"{name}_num_blocks"],
            "num_heads": sizes[f"{name}_num_heads"],
            "drop_path": sizes.get(f"{name}_drop_path", 0.0),
        }

    return ImageBindConfig(
        embed_dim=sizes["out_embed_dim"],
        vision=VisionTowerConfig(**common("vision")),
        text=TextTowerConfig(**common("text"), vocab_size=vocab_size),
        audio=AudioTowerConfig(**common("audio")),
        depth=DepthTowerConfig(**common("depth")),
        thermal=ThermalTowerConfig(**common("thermal")),
        imu=ImuTowerConfig(**common("imu")),
    )


@pytest.fixture(scope="module")
def golden() -> dict[str, torch.Tensor]:
    with safe_open(REFERENCE, "pt") as file:
        return {
            key: file.get_tensor(key) for key in list(file.keys()) if not key.startswith(("tok.", "trunk."))
        }


@pytest.fixture(scope="module")
def config() -> ImageBindConfig:
    with safe_open(REFERENCE, "pt") as file:
        metadata = file.metadata()
    return reference_config(json.loads(metadata["config"]), int(metadata["vocab"]))


@pytest.fixture(scope="module")
def model(golden: dict[str, torch.Tensor], config: ImageBindConfig) -> ImageBindModel:
    model = ImageBindModel(config).eval()
    model.load_state_dict(
        {k.removeprefix("sd."): v for k, v in golden.items() if k.startswith("sd.")}, strict=True
    )
    return model


def case_input(golden: dict[str, torch.Tensor], case: str) -> torch.Tensor:
    values = golden[f"in.{case}"]
    return values.float() if values.is_floating_point() else values.long()


def test_published_keys_shapes_and_parameter_count() -> None:
    with torch.device("meta"):
        model = ImageBindModel(imagebind_huge())
    parameters = dict(model.named_parameters())
    found = {
        f"{key} {tuple(value.shape)} {str(value.dtype).removeprefix('torch.')} "
        f"{'param' if key in parameters else 'buffer'}"
        for key, value in model.state_dict().items()
    }
    lines = (DATA / "imagebind_huge_keys.txt").read_text().splitlines()
    assert found == {line for line in lines if line and not line.startswith("#")}
    assert sum(p.numel() for p in model.parameters()) == 1_200_781_057


@pytest.mark.parametrize("case", CASES)
def test_outputs_equal_the_reference(
    model: ImageBindModel, golden: dict[str, torch.Tensor], case: str
) -> None:
    modality = CASES[case]
    with torch.no_grad():
        output = model({modality: case_input(golden, case)})[modality]
    expected = golden[f"out.{case}"]
    error = (output - expected).abs().amax(dim=1) / expected.norm(dim=1)
    assert error.max() <= 1e-6


@pytest.mark.parametrize("case", CASES)
def test_encode_is_the_output_without_scale(
    model: ImageBindModel, golden: dict[str, torch.Tensor], case: str
) -> None:
    with torch.no_grad():
        vectors = model.encode(CASES[case], case_input(golden, case))
    expected = torch.nn.functional.normalize(golden[f"out.{case}"], dim=1)
    assert vectors.dtype == torch.float32
    assert torch.allclose(vectors.norm(dim=1), torch.ones(len(vectors)), atol=1e-6)
    assert (vectors - expected).abs().max() <= 1e-6


def test_a_part_of_the_towers_gives_the_same(
    model: ImageBindModel, golden: dict[str, torch.Tensor], config: ImageBindConfig
) -> None:
    part = ImageBindModel(config, [Modality.VIDEO, Modality.IMU]).eval()
    assert part.modalities == {Modality.IMAGE, Modality.VIDEO, Modality.IMU}
    part.load_state_dict({key: model.state_dict()[key] for key in part.state_dict()})
    images = case_input(golden, "image")
    with torch.no_grad():
        assert torch.equal(part.encode(Modality.IMAGE, images), model.encode(Modality.IMAGE, images))
    with pytest.raises(MissingPart, match="no audio tower loaded for audio; loaded: vision, imu"):
        part.encode(Modality.AUDIO, case_input(golden, "audio1"))


def test_batch_equals_single(model: ImageBindModel, golden: dict[str, torch.Tensor]) -> None:
    for case in ("image", "text", "audio", "imu"):
        inputs = case_input(golden, case)
        with torch.no_grad():
            batch = model.encode(CASES[case], inputs)
            single = torch.cat([model.encode(CASES[case], row[None]) for row in inputs])
        assert torch.allclose(batch, single, atol=1e-6)


def test_image_equals_a_still_video(model: ImageBindModel, golden: dict[str, torch.Tensor]) -> None:
    images = case_input(golden, "image")
    with torch.no_grad():
        still = model.encode(Modality.VIDEO, images[:, None, :, None].expand(-1, -1, -1, 2, -1, -1))
        assert torch.allclose(still, model.encode(Modality.IMAGE, images), atol=1e-6)


def test_the_last_block_of_the_class_token_alone_is_that_of_all(
    model: ImageBindModel, golden: dict[str, torch.Tensor]
) -> None:
    for case in ("image", "audio", "imu"):  # without and with an extra key and value
        inputs, seen = case_input(golden, case), []
        trunk = model.modality_trunks[TOWER[CASES[case]]]
        hook = trunk.register_forward_hook(lambda module, args, output, seen=seen: seen.append(output))
        with torch.no_grad():
            model.encode(CASES[case], inputs)
            model.encode_tokens(CASES[case], inputs)
        hook.remove()
        assert seen[0].shape[1] == 1 < seen[1].shape[1]
        assert torch.allclose(seen[0], seen[1][:, :1], atol=1e-5)


def test_pooling_takes_the_first_end_token_and_ignores_what_follows(model: ImageBindModel) -> None:
    ids = torch.tensor([[5, 9, 511, 0, 0], [5, 511, 511, 511, 3]])
    assert end_positions(ids).tolist() == [2, 1]
    with torch.no_grad():
        vectors = model.encode(Modality.TEXT, ids)
        shorter = model.encode(Modality.TEXT, torch.tensor([[5, 511]]))
    assert torch.allclose(vectors[1:], shorter, atol=1e-6)


def test_reduced_precision_stays_close(
    model: ImageBindModel, golden: dict[str, torch.Tensor], config: ImageBindConfig
) -> None:
    half = ImageBindModel(config).eval()
    half.load_state_dict(model.state_dict())
    half.to(torch.bfloat16)
    for case in ("image", "text", "audio1", "imu"):
        with torch.no_grad():
            vectors = half.encode(CASES[case], case_input(golden, case))
            cosine = (vectors * model.encode(CASES[case], case_input(golden, case))).sum(dim=1)
        assert cosine.min() > 0.999


def test_is_an_encoder(model: ImageBindModel) -> None:
    assert isinstance(model, Encoder)
    assert model.modalities == frozenset(Modality)


@pytest.mark.parametrize(
    ("modality", "shape", "message"),
    [
        (
            Modality.VIDEO,
            (1, 3, 2, 224, 224),
            r"Found video inputs of shape \(1, 3, 2, 224, 224\); expected \(N, S, 3, T, H, W\)",
        ),
        (Modality.VIDEO, (1, 1, 3, 4, 224, 224), "Found clips of 4 frames; expected 2"),
        (Modality.AUDIO, (1, 1, 128, 300), "Found a patch grid of 12 x 29; expected 228 patches"),
        (Modality.IMU, (1, 6, 1999), "Found an IMU trace of 1999 samples; expected 2000"),
        (Modality.IMAGE, (3, 224, 224), r"expected \(N, 3, H, W\)"),
        (Modality.IMAGE, (1, 3, 224, 252), "Found a patch grid of 16 x 18; expected 256 patches"),
    ],
)
def test_wrong_shapes_are_refused(
    model: ImageBindModel, modality: Modality, shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(BadArgument, match=message):
        model.encode(modality, torch.zeros(shape))


def test_texts_longer_than_the_context_are_refused(model: ImageBindModel) -> None:
    with pytest.raises(BadArgument, match="Found texts of 78 tokens; expected at most 77"):
        model.encode(Modality.TEXT, torch.ones(1, 78, dtype=torch.long))


def test_configurations_are_checked(config: ImageBindConfig) -> None:
    with pytest.raises(BadArgument, match="num_heads dividing width"):
        DepthTowerConfig(width=10, num_blocks=1, num_heads=3)
    with pytest.raises(BadArgument, match="Found num_crops=2; expected 1 or 3"):
        VisionTowerConfig(width=8, num_blocks=1, num_heads=1, num_crops=2)
    with pytest.raises(BadArgument, match="Found embed_dim=0"):
        ImageBindConfig(embed_dim=0)
    with pytest.raises(MissingPart, match="Found no depth tower in this encoder; it has vision"):
        ImageBindModel(ImageBindConfig(embed_dim=8, vision=config.vision), [Modality.DEPTH])
