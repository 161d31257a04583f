"""What each number means, in one sentence: results carry these beside the numbers."""

from __future__ import annotations

import re

from mas_triplets.errors import unknown

_TIES = "equal scores count as their expectation over random orders"

DEFINITIONS: dict[str, str] = {
    "ap": "Average precision of one query: mean over its relevant items of the precision at their ranks; "
    f"{_TIES}; undefined for a query with no relevant item.",
    "ap@k": "Average precision within the first {k} ranks of one query, divided by min({k}, number of relevant "
    f"items); {_TIES}.",
    "hit@k": "Whether at least one relevant item is among the first {k} of one query, as a probability; " + f"{_TIES}.",
    "rr": f"1 / rank of the first relevant item of one query; {_TIES}.",
    "map": "Fact to image: average precision of the ranked images of a fact, mean over the facts that have a relevant "
    f"image; {_TIES}.",
    "map@k": "Fact to image: average precision within the first {k} images, divided by min({k}, relevant images), "
    f"mean over the facts that have a relevant image; {_TIES}.",
    "r@k": "Fact to image: share of facts with at least one relevant image among the first {k} (not the share of "
    f"relevant images found), over the facts that have one; {_TIES}.",
    "k@k": "Image to fact: share of images with at least one right fact among the first {k}, over the images that have "
    f"one; {_TIES}.",
    "mrr": f"Mean over queries of 1 / rank of the first relevant item (image to fact: the first right fact); {_TIES}.",
    "average": "Score on each task after the last task was learnt, mean over tasks: mean_j R[T,j].",
    "backward_transfer": "Change of the earlier tasks' scores since each was learnt: 1/(T-1) sum_{j<T} "
    "(R[T,j] - R[j,j]); negative is forgetting.",
    "forgetting": "Loss of the earlier tasks from their best score before the last task: 1/(T-1) sum_{j<T} "
    "(max_{j<=i<T} R[i,j] - R[T,j]).",
    "forward_transfer": "Score on a task just before it is learnt, less the untrained model's: 1/(T-1) sum_{j>1} "
    "(R[j-1,j] - b_j).",
    "intransigence": "How much worse a task is learnt in its turn than jointly: mean_j (R_joint[j] - R[j,j]).",
    "recovered": "Share of joint training's lead over finetuning that the method keeps: (average - finetune's) / "
    "(joint's - finetune's); undefined where joint leads by less than 0.01.",
}
"""Name -> definition; `@k` stands for any cutoff, and {k} in its sentence for that number."""

_CUTOFF = re.compile(r"@\d+$")


def definition(name: str) -> str:
    """Return the sentence for `name`, with its cutoff filled in.

    >>> definition("hit@5")[:60]
    'Whether at least one relevant item is among the first 5 of o'

    Raises:
        UserError: no metric has this name.
    """
    key = _CUTOFF.sub("@k", name)
    if key not in DEFINITIONS:
        raise unknown("metric", name, DEFINITIONS)
    return DEFINITIONS[key].replace("{k}", name.rpartition("@")[2])
