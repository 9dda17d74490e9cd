"""Pretrains the HiFi-GAN vocoder of the audio decoder with spectral losses.

The generator alone is trained, on the log-mel error of HiFi-GAN (Kong et al. 2020, eq. 5) and the multi-
resolution STFT loss of Parallel WaveGAN (Yamamoto et al. 2020, eqs. 4 to 6): on tones, bells and noise bands
these suffice and cost no discriminator.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from anygen.decoders.build import build_vocoder, load_autoencoder
from anygen.decoders.mel import HOP, log_mel
from anygen.decoders.phase import with_phase
from anygen.decoders.waveform import vocode
from anygen.media import Audio
from anygen.modality import Modality
from anygen.toybox import sound
from anygen.toybox.scene import sample_scene

AUDIBLE = -5.0
"""Log-mel magnitude, about 60 dB below the loudest tone."""

RESOLUTIONS = ((2048, 512), (1024, 160), (512, 128), (128, 32))
"""(FFT size, hop) of the STFT loss; the longest resolves the lowest pitch's partials."""


@dataclass(frozen=True, kw_only=True)
class VocoderConfig:
    """How wide the vocoder is and what it is trained on."""

    upsample_initial_channel: int
    """Channels before the first upsampling; each of the four halves them."""
    refine_steps: int = 32
    """Rounds of `refine_waveform` after the vocoder, when it is used."""
    segment_frames: int = 64
    """Mel frames per training segment."""
    autoencoder: str | None = None
    """Spectrogram autoencoder; half of the inputs pass through it, since that is what the vocoder gets in
    use."""
    evaluation_count: int = 96
    """Sounds that an evaluation grades."""
    seed: int = 0
    """Initialisation and sounds."""


def stft_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Spectral convergence plus log-magnitude L1, averaged over `RESOLUTIONS`; waveforms are (n, samples)."""
    losses = []
    for size, hop in RESOLUTIONS:
        window = torch.hann_window(size)
        a, b = (
            torch.stft(x, size, hop, window=window, return_complex=True).abs().clamp(min=0.05)
            for x in (predicted, target)
        )
        losses.append(torch.linalg.norm(b - a) / torch.linalg.norm(b) + (b.log() - a.log()).abs().mean())
    return torch.stack(losses).mean()


def _mel_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """L1 of the log-mels above the audible floor: below it nobody hears, and most bins lie there."""
    return F.l1_loss(log_mel(predicted).clamp(min=AUDIBLE), log_mel(target).clamp(min=AUDIBLE))


class VocoderStage:
    """Log-mels to waveforms."""

    name = "vocoder"
    dataset_size = None

    def __init__(self, config: VocoderConfig) -> None:
        self.config = config
        torch.manual_seed(config.seed)
        self.model = build_vocoder(
            upsample_initial_channel=config.upsample_initial_channel,
            takes_phase=True,
            refine_steps=config.refine_steps,
        )
        self.autoencoder = load_autoencoder(config.autoencoder) if config.autoencoder else None

    def modules(self) -> dict[str, nn.Module]:
        """The vocoder, and the frozen autoencoder where inputs pass through one."""
        frozen = {} if self.autoencoder is None else {"autoencoder": self.autoencoder}
        return {"vocoder": self.model, **frozen}

    def trainable_parameters(self) -> list[dict[str, Any]]:
        """The vocoder."""
        return [{"params": list(self.model.parameters())}]

    def batch(self, indices: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Log-mel segments (n, frames, 64) and their waveforms (n, 160 frames)."""
        rng = np.random.default_rng((self.config.seed, int(indices[0])))
        waveforms = torch.from_numpy(sound.sound_batch([sample_scene(rng) for _ in indices], rng=rng))
        mels = log_mel(waveforms)
        if self.autoencoder is not None:
            half = len(indices) // 2
            with torch.no_grad():
                mels[:half] = self._reconstruct(mels[:half])
        mels = with_phase(mels)
        frames = self.config.segment_frames
        starts = rng.integers(0, mels.shape[1] - frames + 1, len(indices))
        cut = [m[s : s + frames] for m, s in zip(mels, starts, strict=True)]
        heard = [w[s * HOP : (s + frames) * HOP] for w, s in zip(waveforms, starts, strict=True)]
        return torch.stack(cut), torch.stack(heard)

    def _reconstruct(self, mels: Tensor) -> Tensor:
        assert self.autoencoder is not None
        return self.autoencoder.decode(self.autoencoder.encode(mels[:, None]).latent_dist.mode()).sample[:, 0]

    def training_forward(self, batch: tuple[Tensor, Tensor]) -> tuple[dict[str, Tensor], dict[str, float]]:
        """STFT loss plus log-mel L1 on the waveform that comes out."""
        mels, waveforms = batch
        made = self.model(mels)
        spectral, mel = stft_loss(made, waveforms), _mel_loss(made, waveforms)
        return {"loss": spectral + mel, "stft": spectral, "mel": mel}, {}

    def evaluate(self) -> dict[str, float]:
        """Share of attributes that the oracle hears in vocoded true mels, and in vocoded reconstructions."""
        from anygen.stages.evaluation.grade import grade

        rng = np.random.default_rng((self.config.seed + 1, 2))
        scenes = [sample_scene(rng) for _ in range(self.config.evaluation_count)]
        mels = log_mel(torch.from_numpy(sound.sound_batch(scenes, rng=rng)))
        inputs = {"true": mels}
        if self.autoencoder is not None:
            inputs["reconstructed"] = self._reconstruct(mels)
        expected = [s.revealed(Modality.AUDIO) for s in scenes]
        scores = {}
        for name, frames in inputs.items():
            made = torch.cat([vocode(self.model, x) for x in frames.split(16)]).clamp(-1, 1).numpy()
            sounds = [Audio(samples=w[None], sample_rate=16_000) for w in made]
            for attribute, (right, count) in grade(Modality.AUDIO, sounds, expected).items():
                scores[f"{name}/{attribute}"] = right / count
        return scores

    def save(self, folder: Path) -> None:
        """Vocoder in transformers' layout."""
        self.model.save_pretrained(folder)
