"""The looks that the theme's colors alone do not give."""

from __future__ import annotations

from functools import cache

import streamlit as st
from PIL import Image, ImageDraw

CSS = """
<style>
:root { color-scheme: light dark; }
[data-testid="stMainBlockContainer"] { max-width: 60rem; padding: 4.2rem 1.25rem 2rem; }
[data-testid="stBottomBlockContainer"] { max-width: 60rem; padding: .5rem 1.25rem 1.1rem; }
[data-testid="stSidebarUserContent"] { padding-bottom: 1rem; }

.ag-title { font-size: 1.35rem; font-weight: 600; margin: 0; padding: 0; line-height: 1.25;
  overflow-wrap: anywhere; }
.st-key-chat_toolbar { flex-wrap: nowrap; }
.st-key-chat_toolbar > div:first-child { flex: 1 1 auto; min-width: 0; }
.ag-empty-title { font-family: "Source Serif", "Source Serif Pro", Georgia, serif;
  font-size: 2.4rem; font-weight: 600;
  text-align: center; line-height: 1.15; margin: 7vh 0 0; padding: 0; }
.st-key-empty_state p { max-width: 36rem; margin: 0 auto; opacity: .85; text-wrap: balance; }
.st-key-examples { margin-top: 1.2rem; }
.st-key-examples button { min-height: 4.2rem; justify-content: flex-start; text-align: left; }
.st-key-examples button p { white-space: normal; }
.st-key-examples button > div, [class*="st-key-open_"] button > div { width: 100%;
  justify-content: flex-start; }
.st-key-examples button > div > *, [class*="st-key-open_"] button > div > * { justify-content: flex-start; }
[class*="st-key-live_"], [class*="st-key-live_"] * { opacity: 1 !important; }

[data-testid="stChatMessage"] { padding: .9rem 1rem; gap: .8rem; }
[data-testid="stChatMessage"]:has([class*="st-key-question_"]) {
  background: color-mix(in srgb, var(--st-primary-color, #c8452c) 6%, transparent); }
[data-testid="stChatMessage"]:has([class*="st-key-answer_"]),
[data-testid="stChatMessage"]:has([class*="st-key-live_"]) { background: transparent; }

[class*="st-key-medium_"] img, [class*="st-key-input_image"] img, [class*="st-key-staged_image"] img,
[class*="st-key-variation_"] img, .ag-preview { width: 100%; border-radius: .5rem; image-rendering: auto; }
[class*="st-key-medium_"], [class*="st-key-live_"] > div { max-width: 100%; }
[class*="st-key-medium_"] video, [class*="st-key-input_"] video { border-radius: .5rem; max-width: 100%; }
[class*="st-key-tile_"] { aspect-ratio: 1; justify-content: center; overflow: hidden; padding: .6rem;
  border-radius: .5rem; background: color-mix(in srgb, currentColor 5%, transparent); }
[class*="st-key-tile_"] img, [class*="st-key-tile_"] video { max-height: 100%; object-fit: contain; }
:is([class*="st-key-tile_image"], [class*="st-key-tile_video"], [class*="st-key-tile_depth"],
  [class*="st-key-tile_thermal"]) { padding: 0; }
:is([class*="st-key-tile_image"], [class*="st-key-tile_video"], [class*="st-key-tile_depth"],
  [class*="st-key-tile_thermal"]) :is(img, video) { width: 100%; aspect-ratio: 1; }
[class*="st-key-toy_card_"] > :last-child { margin-top: auto; }
[class*="st-key-tile_text"] p { font-size: 1.15rem; text-align: center; overflow-wrap: anywhere; }
:is([class*="st-key-medium_"], [class*="st-key-live_"], [class*="st-key-variation_"],
  [class*="st-key-input_"], [class*="st-key-staged_"]) :is(img, video) {
  aspect-ratio: auto 1; }  /* a place to load into: nothing below moves away from under a finger */
[role="dialog"] :is(img, video) { max-height: 58vh; object-fit: contain; }
.ag-preview { display: block; max-height: 360px; object-fit: contain; }
[class*="st-key-tools_"] button, [class*="st-key-bar_"] button,
  [class*="st-key-tools_"] p { font-size: .85rem; }
[class*="st-key-branch_"] button p { position: absolute; width: 1px; height: 1px; overflow: hidden;
  clip-path: inset(50%); }  /* the arrows say it to the eye, the words to a screen reader */
[class*="st-key-tools_"] { opacity: .75; transition: opacity .15s; }
[class*="st-key-tools_"]:hover, [class*="st-key-tools_"]:focus-within { opacity: 1; }

[class*="st-key-chat_shown_"], [class*="st-key-chat_other_"] { border-radius: .6rem; align-items: center; }
[class*="st-key-chat_shown_"] { background: color-mix(in srgb, currentColor 9%, transparent); }
[class*="st-key-chat_shown_"] button, [class*="st-key-chat_other_"] button {
  justify-content: flex-start; text-align: left; padding: .35rem .6rem; }
[class*="st-key-chat_other_"]:hover { background: color-mix(in srgb, currentColor 5%, transparent); }

.st-key-composer [data-testid="stAlert"] { max-height: 40vh; overflow-y: auto; }
.st-key-composer_bar button { min-height: 2.1rem; }
.st-key-outputs_label p { white-space: nowrap; }
.st-key-world p { font-size: .78rem; text-align: center; }
[data-testid="stStatusWidget"] button { display: none; }  /* its Stop leaves half a page */
[data-testid="stChatInput"] textarea { font-size: 1rem; }
[data-testid="stBaseButton-primary"] { color: light-dark(#ffffff, #15161a); }  /* on either primary */
button:focus-visible, a:focus-visible,
  [role="radio"]:focus-visible { outline: 2px solid var(--st-primary-color, #c8452c);
  outline-offset: 2px; }

@media (max-width: 640px) {
  [data-testid="stMainBlockContainer"] { padding: 3.8rem .75rem 1rem; }
  [data-testid="stBottomBlockContainer"] { padding: .4rem .75rem .7rem; }
  .ag-empty-title { font-size: 1.8rem; margin: 2vh 0 0; }
  .st-key-world { display: none; }
  :is([class*="st-key-tile_text"], [class*="st-key-tile_audio"], [class*="st-key-tile_imu"]) {
    aspect-ratio: auto; }  /* one below the other, nothing need be as high as its neighbour */
  .st-key-outputs_label { width: 100%; margin-bottom: -.4rem; }
  .st-key-examples button { min-height: 3rem; }
  [data-testid="stChatMessage"] { padding: .6rem .2rem; gap: .5rem; }
}
@media (prefers-reduced-motion: reduce) { * { transition: none !important;
  animation-duration: .01s !important; } }
</style>
"""


@cache
def page_icon() -> Image.Image:
    """Draw the sign of the browser tab: a star on vermilion. Nothing is fetched for it.

    Returns:
        A square picture.
    """
    picture = Image.new("RGBA", (128, 128))
    draw = ImageDraw.Draw(picture)
    draw.rounded_rectangle((0, 0, 127, 127), radius=30, fill="#c8452c")
    star = [(64, 18), (75, 53), (110, 64), (75, 75), (64, 110), (53, 75), (18, 64), (53, 53)]
    draw.polygon(star, fill="#fbf9f5")
    return picture.resize((64, 64), Image.Resampling.LANCZOS)


FOLLOW = """
<script>
(() => {
  const view = document.querySelector('[data-testid="stMain"]');
  const page = document.querySelector('[data-testid="stMainBlockContainer"]');
  if (!view || !page) return;
  const down = () => view.scrollTo({ top: view.scrollHeight });
  window.agPinned = true;
  down();
  if (window.agFollowed === page) return;
  window.agFollowed = page;
  const look = () => requestAnimationFrame(() => {
    window.agPinned = view.scrollHeight - view.scrollTop - view.clientHeight < 120;
  });
  for (const moved of ["wheel", "touchmove", "keyup", "pointerup"]) {
    view.addEventListener(moved, look, { passive: true });
  }
  new ResizeObserver(() => {
    if (!window.agPinned) return;
    if (document.querySelector("[data-follow]")) return down();
    window.agPinned = false;  // another page has taken the chat's place
    view.scrollTo({ top: 0 });
  }).observe(page);
})();
</script>
"""
"""Scrolls to the newest part of a chat and stays there as it grows, until the visitor scrolls or leaves."""


def follow_end(mark: str) -> None:
    """Show the end of the page from now on.

    Args:
        mark: a new one scrolls anew; of letters and digits.
    """
    st.html(f'<span data-follow="{mark}"></span>{FOLLOW}', unsafe_allow_javascript=True)


def apply_style() -> None:
    """Add the looks to the page."""
    st.html(CSS)
