"""Everyday prompts of many kinds, and what follows on them, for a language model to answer by itself.

Words of the toybox occur as they do in everyday talk: a star in the sky, a film to watch, the color of milk.
So an adapter that learns to show a star when asked for one also learns when nobody asked. None of the
questions that an evaluation asks (`evaluation.everyday`) is among them.
"""

from __future__ import annotations

CAPITALS = ("Italy", "Japan", "Kenya", "Canada", "Egypt", "Norway", "Peru", "Turkey", "Vietnam", "Chile")
ANIMALS = ("cats", "octopuses", "bees", "elephants", "penguins", "owls", "dolphins", "ants", "bats", "wolves")
IDEAS = (
    "gravity", "inflation", "photosynthesis", "democracy", "evolution", "electricity", "a vaccine",
    "the water cycle", "a solar eclipse", "machine learning", "the stock market", "recycling",
)  # fmt: skip
SCENES = (
    "a rainy day", "the mountains", "an old lighthouse", "a busy market", "the first snow", "a quiet library",
    "a train journey", "my grandmother's kitchen", "a circle of friends", "a red balloon",
)  # fmt: skip
ABILITIES = (
    "learn to swim", "sleep better", "save money", "cook rice", "write a good letter", "make new friends",
    "stop being late", "prepare for an interview", "keep a plant alive", "remember names", "draw a cat",
    "take better photos",
)  # fmt: skip
WORDS = (
    "happy", "brave", "ancient", "curious", "fragile", "generous", "silent", "bright", "square", "large",
)  # fmt: skip
SUMS = ("7 + 8", "12 - 5", "6 times 7", "100 divided by 4", "15 + 27", "9 squared")

SINGLE = (
    "Hello!", "Hi, how are you?", "Good morning!", "Thanks for your help.", "Tell me a joke.", "Who are you?",
    "What can you do?", "I feel sad today.", "I am bored. What should I do?", "What should I cook tonight?",
    "Why is the sky blue?", "Why do leaves turn red in autumn?", "What color is milk?", "What is a star made of?",
    "How far away is the moon?", "How many sides does a triangle have?", "What shape is a stop sign?",
    "Who painted the Mona Lisa?", "Who wrote Hamlet?", "When did the Second World War end?",
    "What is the largest ocean?", "What is the fastest land animal?", "What is the boiling point of water?",
    "How many days are in a leap year?", "How many minutes are in a day?", "What language is spoken in Brazil?",
    "Recommend a film for a Friday night.", "What makes a good movie?", "How does a camera work?",
    "What is the difference between a picture and a painting?", "What sound does a cow make?",
    "Why does thunder come after lightning?", "What is music?", "Who invented the telephone?",
    "What is the meaning of a green traffic light?", "What does a white flag mean?", "Which fruit is orange?",
    "Name a small country in Europe.", "Name two large cities in Asia.", "What is a ring finger?",
    "What is the Red Cross?", "How do magnets work?", "How does a microwave heat food?", "Why do we dream?",
    "Why do cats purr?", "Is a tomato a fruit?", "Is it healthy to drink coffee?", "How much water should I drink?",
    "What is the best time to exercise?", "Give me three tips for studying.", "Give me a quote about courage.",
    "Write a haiku about spring.", "Write a short poem about the moon.", "Write a birthday wish for my brother.",
    "Write an email asking for a day off.", "Write a slogan for a bakery.", "Suggest a name for a dog.",
    "Suggest a gift for my father.", "Plan a weekend in Rome.", "What should I pack for the beach?",
    "How do I say thank you in French?", "How do I say good night in German?", "Translate 'water' to Spanish.",
    "What is a verb? Give an example.", "What is the plural of mouse?", "Spell the word necessary.",
    "Correct this sentence: He go to school.", "Put these in order: third, first, second.",
    "Which is heavier, a kilo of iron or a kilo of feathers?", "What comes after Wednesday?",
    "What is half of 50?", "Is 17 a prime number?", "What is the square root of 81?", "Convert 2 meters to centimeters.",
    "What is Python used for?", "What is HTML?", "What does a variable do in a program?", "How do I make a strong password?",
    "What is the internet?", "What is an atom?", "What is DNA?", "What do plants need to grow?",
    "What causes earthquakes?", "What causes the tides?", "How is glass made?", "How is paper made?",
    "Who was Marie Curie?", "Who was Nelson Mandela?", "Tell me about the Great Wall of China.",
    "Tell me about the history of chess.", "What are the rules of football?", "How do I play hide and seek?",
    "What is the moral of the tortoise and the hare?", "Describe a sunset in two sentences.",
    "Describe your perfect holiday.", "What do you think about homework?", "Can machines think?",
    "Can you keep a secret?", "Do you like music?", "What is your favorite color?", "Do you sleep?",
    "What is love?", "What makes people happy?", "How do I apologize to a friend?", "How do I ask for a raise?",
    "What is a healthy breakfast?", "How do I bake bread?", "How long do you boil an egg?", "What goes well with pasta?",
    "What is the smallest planet?", "Which planet has rings?", "What is a black hole?", "Is the sun a star?",
    "What moves faster, light or sound?", "Where does the sun go down?", "Which way is up in space?",
    "What is left when you take 3 from 10?", "Draw a conclusion: all birds have wings, and a robin is a bird.",
    "Show me how to be polite.", "Play along: you are a pirate.", "Picture yourself on a beach. What do you hear?",
    "Describe a cross between a dog and a wolf.", "What is brown sugar?", "Who wears a navy uniform?",
    "What is gray matter?", "What is black tea?", "What is yellow journalism?", "What is a blue whale?",
    "What is purple a symbol of?", "How do I make cyan from other colors?",
)  # fmt: skip

FOLLOW_UPS = (
    "Can you say that more simply?", "Why is that?", "Tell me more.", "Thank you!", "Are you sure?",
    "Give me an example.", "Make it shorter.", "And what else?",
)  # fmt: skip
"""What a user goes on with after an answer."""


def everyday_prompts() -> list[str]:
    """First things a user says, in a fixed order, none twice."""
    prompts = [
        *SINGLE,
        *(f"What is the capital of {name}?" for name in CAPITALS),
        *(f"Tell me a fun fact about {name}." for name in ANIMALS),
        *(f"What do {name} eat?" for name in ANIMALS[:5]),
        *(f"Explain {name} in one sentence." for name in IDEAS),
        *(f"What is {name}?" for name in IDEAS[:6]),
        *(f"Write two sentences about {name}." for name in SCENES),
        *(f"How do I {name}?" for name in ABILITIES),
        *(f"Use the word {name} in a sentence." for name in WORDS),
        *(f"What is the opposite of {name}?" for name in WORDS[:7]),
        *(f"What is {name}?" for name in SUMS),
    ]
    return list(dict.fromkeys(prompts))
