"""The script of the app: looks, navigation and the sidebar, then the page that is shown.

Streamlit runs this file as a script, so imports are absolute.
"""

from __future__ import annotations

import streamlit as st

from anygen.app.ui import gallery, mixer, model_page, toybox_page
from anygen.app.ui.chat import chat_page
from anygen.app.ui.chat_actions import follow_address
from anygen.app.ui.chat_sidebar import sidebar
from anygen.app.ui.services import visit
from anygen.app.ui.style import apply_style, page_icon

ABOUT = (
    "**anygen** answers any mix of words, pictures, sounds, videos and sensor files in any mix of words, "
    "pictures, sounds and videos. Everything is computed by this server, and nothing is reported to anyone. "
    "Parts and licences of the model are on the page *Model*."
)
st.set_page_config(
    page_title="anygen",
    page_icon=page_icon(),
    layout="wide",
    initial_sidebar_state="auto",
    menu_items={"About": ABOUT},
)
apply_style()
visit()
PAGES = {
    "chat": st.Page(chat_page, title="Chat", icon=":material/chat:", url_path="chat", default=True),
    "gallery": st.Page(gallery.page, title="Gallery", icon=":material/photo_library:", url_path="gallery"),
    "mixer": st.Page(mixer.page, title="Mixer", icon=":material/tune:", url_path="mixer"),
    "model": st.Page(model_page.page, title="Model", icon=":material/memory:", url_path="model"),
    "toybox": st.Page(toybox_page.page, title="Toybox", icon=":material/toys:", url_path="toybox"),
}
st.session_state["pages"] = PAGES
page = st.navigation(list(PAGES.values()), position="top")
follow_address(on_chat=page.title == PAGES["chat"].title)
sidebar()
page.run()
