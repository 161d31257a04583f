"""What the data set card says of rendered scenes: what is labelled, and when a relation holds."""

from __future__ import annotations

from mas_triplets.data.scenes import relations as r
from mas_triplets.data.scenes.options import SceneOptions
from mas_triplets.data.scenes.vocabulary import vocabulary


def card_text(options: SceneOptions) -> str:
    """Return the card's sections on labels and relations, as Markdown."""
    facts = vocabulary(options)
    counts = [sum(fact.order == order for fact in facts) for order in (1, 2, 3)]
    overlap, between = abs(r.TOUCH_PIXELS[0]), r.TOUCH_PIXELS[1]
    lines = [
        "## What is in the pictures",
        "",
        f"Each picture ({options.size} x {options.size} pixels, difficulty {options.difficulty}) holds one coloured "
        "object, the subject, and in some pictures one dark grey object, the reference. Backgrounds, noise and "
        "short strokes have no meaning.",
        "",
        f"The vocabulary has {len(facts)} facts: {counts[0]} of order 1 `<shape>`, {counts[1]} of order 2 "
        f"`<shape, colour>` or `<shape, pattern>`, and {counts[2]} of order 3 `<shape, relation, other shape>`. Each "
        "picture is drawn for one target fact; targets take turns, so every fact is the target equally often.",
        "",
        "## What is labelled",
        "",
        "- Every fact of the vocabulary that is true of the subject, not only the target.",
        "- Nothing about the reference by itself: `<ring>` is not a label of a picture in which the ring is the dark "
        "grey reference. The grey object is only ever the object of facts of order 3.",
        "- A relation can hold in a picture without a label, where the vocabulary has no fact of this relation "
        "between these two shapes.",
        "- No relation fact of the vocabulary is a close call: pictures in which one would be are drawn again.",
        "- Boxes are tight to the outlines; the reference's box is that of its whole outline, covered or not.",
        "",
        "## When a relation holds",
        "",
        "Centres are centres of gravity; an outline is the filled outer edge, so a ring counts as a disc.",
        "",
        "| relation | true | clearly false |",
        "|---|---|---|",
        "| above, below, left of, right of "
        f"| the offset of the centres along the axis is at least {r.AXIS_RATIO:g} times the offset across it and at "
        f"least {r.AXIS_LEAST:g} of the picture's side; the outlines overlap by at most {overlap:g} pixel "
        f"| the offset along the axis is at most {r.AXIS_RATIO_FALSE:g} times the one across it, or the outlines "
        f"overlap by {r.OVERLAP:.1%} of the side or more |",
        "| touching "
        f"| the outlines meet: they overlap by at most {overlap:g} pixel, or leave at most {between:g} pixel "
        f"| a gap of {r.apart(options.size) * options.size:.2g} pixels or more, or an overlap of {r.OVERLAP:.1%} of "
        "the side or more |",
        "| inside "
        f"| the subject's outline lies within the reference's, {options.size / min(options.size, 48):.2g} pixels from "
        "its edge at least; in a ring it lies in the hole "
        f"| a point of the subject is {r.OUTSIDE:.1%} of the side outside, or further |",
        "| covering "
        f"| the subject lies over the reference, hides {r.HIDDEN[0]:.0%} to {r.HIDDEN[1]:.0%} of its body, and "
        f"each reaches {r.OUTSIDE:.1%} of the side or more out of the other's outline "
        f"| it hides at most {r.HIDDEN_FALSE:.0%}, or is inside |",
        "",
    ]
    return "\n".join(lines)
