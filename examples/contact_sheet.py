"""A contact sheet of exchanges, drawn with Pillow: what went in on the left, what came out on the right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from anygen import Audio, Video

PAPER, CARD, LINE = "#F3EFE6", "#FFFFFF", "#DDD6C8"
INK, SOFT, ACCENT, NIGHT, FILM = "#1E2230", "#777B88", "#C8412B", "#14182B", "#08090C"
HEAT = ((20, 24, 43), (74, 32, 104), (170, 45, 92), (237, 105, 55), (251, 195, 90), (255, 246, 214))
"""Colors of the spectrogram from silence to full level."""

SCALE = 2
"""Everything is drawn this much larger and reduced at the end: Pillow does not smooth the edges of shapes."""
WIDTH, MARGIN, GAP, TILE, CAPTION = 1560, 56, 20, 236, 72
IN_WIDTH, ARROW = 2 * TILE + GAP, 84
FILM_ROWS = 2

Panel = Image.Image
Box = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class Item:
    """One medium of a request or an answer."""

    media: Image.Image | Audio | Video
    """What is shown."""
    name: str
    """File name."""
    measures: str = ""
    """Size or length, beside the name."""
    note: str = ""
    """What it shows, below the name; two lines at most."""


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """One request with its answer."""

    title: str
    """How the request was made."""
    prompt: str
    """What the user wrote."""
    inputs: Sequence[Item]
    """What the user attached."""
    answer: str
    """What the model wrote."""
    outputs: Sequence[Item]
    """What the model drew and played."""


class Page:
    """A canvas whose coordinates are those of the finished picture."""

    def __init__(self, width: int, height: int) -> None:
        self.image = Image.new("RGB", (width * SCALE, height * SCALE), PAPER)
        self.draw = ImageDraw.Draw(self.image)

    def text(
        self, x: float, y: float, text: str, *, size: float, fill: str = INK, bold: bool = False
    ) -> None:
        """Write one line; `bold` thickens the only face that Pillow ships."""
        stroke = round(size * SCALE / 40) if bold else 0
        position = (x * SCALE, y * SCALE)
        self.draw.text(position, text, font=_font(size), fill=fill, stroke_width=stroke, stroke_fill=fill)

    def card(self, box: Box, *, fill: str = CARD, outline: str | None = LINE, radius: float = 12) -> None:
        """Draw a rounded rectangle."""
        scaled = tuple(round(value * SCALE) for value in box)
        self.draw.rounded_rectangle(scaled, radius * SCALE, fill=fill, outline=outline, width=SCALE)

    def line(self, points: Sequence[tuple[float, float]], *, fill: str = INK, width: float = 2) -> None:
        """Draw a line through the points."""
        scaled = [(x * SCALE, y * SCALE) for x, y in points]
        self.draw.line(scaled, fill=fill, width=round(width * SCALE), joint="curve")

    def paste(self, panel: Panel, x: float, y: float, *, radius: float = 12) -> None:
        """Paste a panel (already at drawing scale) with rounded corners."""
        mask = Image.new("L", panel.size)
        ImageDraw.Draw(mask).rounded_rectangle((0, 0, *panel.size), radius * SCALE, fill=255)
        self.image.paste(panel, (round(x * SCALE), round(y * SCALE)), mask)

    def finished(self) -> Image.Image:
        """The picture at its final size."""
        size = (self.image.width // SCALE, self.image.height // SCALE)
        return self.image.resize(size, Image.Resampling.LANCZOS)


def draw_contact_sheet(exchanges: Sequence[Exchange], *, title: str, subtitle: str) -> Image.Image:
    """Draw exchanges one below the other.

    Args:
        exchanges: what to show, first to last.
        title: headline.
        subtitle: line under the headline.

    Returns:
        RGB picture, WIDTH pixels wide.
    """
    header = 150
    heights = [_exchange_height(exchange) for exchange in exchanges]
    page = Page(WIDTH, header + sum(heights) + MARGIN // 2)
    page.text(MARGIN, 44, title, size=44, bold=True)
    page.text(MARGIN, 102, subtitle, size=19, fill=SOFT)
    top = header
    for number, (exchange, height) in enumerate(zip(exchanges, heights, strict=True), start=1):
        _draw_exchange(page, exchange, number, top)
        top += height
    return page.finished()


def _exchange_height(exchange: Exchange) -> int:
    return 66 + _words_height(exchange) + GAP + TILE + CAPTION + 34


def _words_height(exchange: Exchange) -> int:
    lines = max(
        len(_wrapped(exchange.prompt, IN_WIDTH - 36, 19)),
        len(_wrapped(exchange.answer, WIDTH - 2 * MARGIN - IN_WIDTH - ARROW - 36, 19)),
    )
    return 46 + 27 * lines


def _draw_exchange(page: Page, exchange: Exchange, number: int, top: float) -> None:
    page.line([(MARGIN, top), (WIDTH - MARGIN, top)], fill=LINE, width=1.5)
    page.text(MARGIN, top + 20, str(number), size=22, fill=ACCENT, bold=True)
    page.text(MARGIN + 26, top + 20, exchange.title, size=22, bold=True)
    words, left = top + 66, MARGIN + IN_WIDTH + ARROW
    height = _words_height(exchange)
    _draw_words(page, "YOU", exchange.prompt, (MARGIN, words, MARGIN + IN_WIDTH, words + height))
    _draw_words(page, "ANYGEN", exchange.answer, (left, words, WIDTH - MARGIN, words + height))
    tiles = words + height + GAP
    _draw_arrow(page, MARGIN + IN_WIDTH + ARROW / 2, tiles + TILE / 2)
    _draw_items(page, exchange.inputs, MARGIN, MARGIN + IN_WIDTH, tiles)
    _draw_items(page, exchange.outputs, left, WIDTH - MARGIN, tiles)


def _draw_words(page: Page, who: str, text: str, box: Box) -> None:
    page.card(box)
    page.text(box[0] + 18, box[1] + 13, who, size=13, fill=ACCENT, bold=True)
    for index, line in enumerate(_wrapped(text, box[2] - box[0] - 36, 19)):
        page.text(box[0] + 18, box[1] + 32 + 27 * index, line, size=19)


def _draw_arrow(page: Page, x: float, y: float) -> None:
    page.line([(x - 22, y), (x + 22, y)], fill=ACCENT, width=3)
    page.line([(x + 11, y - 11), (x + 22, y), (x + 11, y + 11)], fill=ACCENT, width=3)


def _draw_items(page: Page, items: Sequence[Item], left: float, right: float, top: float) -> None:
    """Lay out the tiles in a row; film strips share what the square tiles leave."""
    strips = sum(isinstance(item.media, Video) for item in items)
    free = right - left - GAP * (len(items) - 1) - TILE * (len(items) - strips)
    x = left
    for item in items:
        width = free / strips if isinstance(item.media, Video) else TILE
        page.paste(_panel(item.media, round(width * SCALE), TILE * SCALE), x, top)
        _draw_caption(page, item, x + 2, top + TILE + 9, width - 4)
        x += width + GAP


def _draw_caption(page: Page, item: Item, x: float, y: float, width: float) -> None:
    name = _fitted(item.name, width, 16)
    page.text(x, y, name, size=16, bold=True)
    after = _font(16).getlength(name) / SCALE + 12
    page.text(x + after, y + 2, _fitted(item.measures, width - after, 14), size=14, fill=SOFT)
    lines = _wrapped(item.note, width, 15)
    for index, line in enumerate([*lines[:1], *([" ".join(lines[1:])] if lines[1:] else [])]):
        page.text(x, y + 23 + 20 * index, _fitted(line, width, 15), size=15, fill=SOFT)


def _panel(media: Image.Image | Audio | Video, width: int, height: int) -> Panel:
    if isinstance(media, Audio):
        return sound_panel(media, width, height)
    if isinstance(media, Video):
        return film_panel(media, width, height)
    return media.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)


def sound_panel(audio: Audio, width: int, height: int) -> Panel:
    """Draw a waveform over a spectrogram.

    Args:
        audio: the sound; channels are averaged.
        width: pixels.
        height: pixels.

    Returns:
        RGB picture of that size.
    """
    samples = audio.samples.mean(axis=0)
    split = round(height * 0.36)
    panel = Image.new("RGB", (width, height), NIGHT)
    panel.paste(_spectrogram(samples, audio.sample_rate).resize((width, height - split)), (0, split))
    draw = ImageDraw.Draw(panel)
    middle, reach = split / 2, split * 0.42
    peak = max(float(np.abs(samples).max()), 1e-6)
    for x, chunk in enumerate(np.array_split(samples, width)):
        low, high = (float(value) / peak * reach for value in (chunk.min(), chunk.max()))
        draw.line((x, middle - high, x, middle - low + 1), fill=HEAT[4])
    return panel


def _spectrogram(samples: np.ndarray, sample_rate: int) -> Image.Image:
    """Levels within 60 dB of the loudest, 100 Hz at the bottom to 7 kHz at the top, log frequency."""
    window, hop = 1024, 128
    padded = np.pad(samples, window // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop] * np.hanning(window)
    power = np.abs(np.fft.rfft(frames, n=4 * window)) ** 2  # (frames, bins); padding smooths the low octaves
    pitches = np.geomspace(min(7000.0, sample_rate / 2), 100.0, 220)
    rows = power[:, np.round(pitches * 4 * window / sample_rate).astype(int)].T
    level = 10 * np.log10(np.maximum(rows / max(float(power.max()), 1e-12), 1e-6))  # -60..0 dB
    position = (level / 60 + 1) * (len(HEAT) - 1)
    stops = np.array(HEAT, dtype=np.float64).T
    colors = np.stack([np.interp(position, np.arange(len(HEAT)), channel) for channel in stops], axis=-1)
    return Image.fromarray(colors.astype(np.uint8))


def film_panel(video: Video, width: int, height: int) -> Panel:
    """Draw frames of a video, evenly spaced in time, as two strips of film.

    Args:
        video: the clip.
        width: pixels.
        height: pixels.

    Returns:
        RGB picture of that size.
    """
    panel = Image.new("RGB", (width, height), FILM)
    draw = ImageDraw.Draw(panel)
    gap, edge = round(height * 0.03), round(height * 0.085)
    side = (height - 2 * edge - gap * (FILM_ROWS - 1)) // FILM_ROWS
    columns = max(round((width - gap) / (side + gap) + 0.2), 1)
    side = min(side, (width - gap) // columns - gap)
    left = (width - columns * (side + gap) + gap) // 2
    top = (height - FILM_ROWS * (side + gap) + gap) // 2
    count = min(FILM_ROWS * columns, len(video.frames))
    picks = np.linspace(0, len(video.frames) - 1, count).round().astype(int)
    for place, index in enumerate(picks):
        row, column = divmod(place, columns)
        frame = Image.fromarray(video.frames[index]).resize((side, side), Image.Resampling.LANCZOS)
        panel.paste(frame, (left + column * (side + gap), top + row * (side + gap)))
    hole = edge * 0.36
    for x in np.arange(edge, width - hole, edge * 1.15):
        for y in (edge / 2, height - edge / 2):
            draw.rounded_rectangle((x - hole, y - hole / 2, x, y + hole / 2), hole / 4, fill=PAPER)
    return panel


def _font(size: float) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size * SCALE)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise SystemExit(
            "Found a Pillow without FreeType, expected one of its wheels; reinstall pillow from its wheel."
        )
    return font


def _wrapped(text: str, width: float, size: float) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and _font(size).getlength(longer) > width * SCALE:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _fitted(text: str, width: float, size: float) -> str:
    """The text, cut with an ellipsis where it is wider than the tile."""
    if _font(size).getlength(text) <= width * SCALE:
        return text
    while text and _font(size).getlength(f"{text}...") > width * SCALE:
        text = text[:-1]
    return f"{text}..."


def save_contact_sheet(exchanges: Sequence[Exchange], path: Path, *, title: str, subtitle: str) -> None:
    """Draw the exchanges and write the picture.

    Args:
        exchanges: what to show, first to last.
        path: PNG to write.
        title: headline.
        subtitle: line under the headline.
    """
    draw_contact_sheet(exchanges, title=title, subtitle=subtitle).save(path)
