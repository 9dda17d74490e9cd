"""The users' manners: what is said around an order, a thing or a question, as data."""

from __future__ import annotations

from .dialogue_words import Pool

DO_WRAPS = Pool(
    common=(
        *("{r}",) * 8,
        "please {r}",
        "please {r}",
        "{r} please",
        "{r}, please",
        "can you {r}?",
        "could you {r}?",
        "would you {r}?",
        "can you please {r}?",
        "could you please {r}",
        "I want you to {r}",
        "I'd love you to {r}",
        "I would love it if you {r}",
        "we would love you to {r}",
        "{r}, I would love it",
        "I'd like you to {r}",
        "hi, {r}",
        "hello! can you {r}?",
        "hey, {r}",
        "ok, {r}",
        "now {r}",
        "{r} for me",
        "{r} for me, please",
        "{r}, thanks",
        "go ahead and {r}",
        "try to {r}",
        "your task: {r}",
        "next, {r}",
    ),
    reserved=("would you please {r}?", "hello, {r}"),
)
"""Politeness around an order `{r}`."""

THING_WRAPS = Pool(
    common=(
        *("{r}",) * 4,
        "give me {r}",
        "give me {r}",
        "I want {r}",
        *("I would love {r}",) * 3,
        "I'd love to have {r}",
        "I'd love {r}",
        "we would love {r}",
        "I'd like {r}",
        "I would like {r}",
        "{r} please",
        "{r}, please",
        "please give me {r}",
        "can I have {r}?",
        "could I get {r}?",
        "may I have {r}?",
        "I need {r}",
        "how about {r}?",
        "make {r}",
        "make me {r}",
        "generate {r}",
        "create {r}",
        "produce {r}",
        "please make {r}",
        "can you make {r}?",
        "could you generate {r}?",
        "can you create {r}?",
        "hi, I need {r}",
        "send me {r}",
    ),
    reserved=("could you give me {r}?", "hello, I would like {r}"),
)
"""Politeness around a thing `{r}`."""

ASK_WRAPS = Pool(
    common=(*("{r}?",) * 8, "hi, {r}?", "tell me, {r}?", "and {r}?", "so {r}?", "hello, {r}?", "{r}"),
    reserved=("hey, {r}?",),
)
"""Politeness around a question `{r}`."""
