#!/usr/bin/env python3
"""Writes data/prompts_shapes.txt and data/prompts_shapes_heldout.txt: the captions of the embedded teacher's world.

    python3 scripts/make_prompts.py [--out data]

The world (data/tiny-wan/make_tiny_wan.py) has 8 shapes x 10 colours x 9 backgrounds x 2 sizes x 5 places = 7200
captions. 100 of them are held out, balanced in every attribute, for judging a student on captions that it was never
trained on; the others are written in a shuffled order. Needs the standard library alone; the result is always the same.
"""
import argparse
import random
from itertools import product
from pathlib import Path

SHAPES = ["circle", "square", "triangle", "star", "ring", "cross", "diamond", "heart"]
COLORS = ["red", "green", "blue", "yellow", "orange", "purple", "pink", "white", "black", "gray"]
SIZES = ["small", "large"]
PLACES = ["in the center of", "on the left of", "on the right of", "at the top of", "at the bottom of"]
HELD_OUT = 100


def caption(size, color, shape, place, background):
    article = "an" if background[0] in "aeiou" else "a"
    return f"a {size} {color} {shape} {place} {article} {background} background"


def all_captions():
    return [caption(size, color, shape, place, background)
            for shape, color, background, size, place in product(SHAPES, COLORS, COLORS, SIZES, PLACES)
            if background != color]


def dealt(values, count, rng):
    """`count` values, each as often as the others (or once more), in random order."""
    rest = rng.sample(values, count % len(values))
    cards = values * (count // len(values)) + rest
    rng.shuffle(cards)
    return cards


def held_out(rng):
    """HELD_OUT different captions in which every shape, colour, background, size and place is about equally frequent."""
    while True:
        colors = dealt(COLORS, HELD_OUT, rng)
        backgrounds = dealt(COLORS, HELD_OUT, rng)
        for i in range(HELD_OUT):  # a shape of the background's colour would not be seen
            while colors[i] == backgrounds[i]:
                j = rng.randrange(HELD_OUT)
                if colors[i] != backgrounds[j] and colors[j] != backgrounds[i]:
                    backgrounds[i], backgrounds[j] = backgrounds[j], backgrounds[i]
        captions = [caption(*attributes) for attributes in zip(
            dealt(SIZES, HELD_OUT, rng), colors, dealt(SHAPES, HELD_OUT, rng), dealt(PLACES, HELD_OUT, rng), backgrounds)]
        if len(set(captions)) == HELD_OUT:
            return captions


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent.parent / "data")
    out = parser.parse_args().out
    rng = random.Random(2022)
    test = held_out(rng)
    train = sorted(set(all_captions()) - set(test))
    rng.shuffle(train)
    (out / "prompts_shapes.txt").write_text("\n".join(train) + "\n")
    (out / "prompts_shapes_heldout.txt").write_text("\n".join(test) + "\n")
    print(f"{len(train)} captions to train on, {len(test)} held out, in {out}")


if __name__ == "__main__":
    main()
