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
    "generalised_k@k": "Image to fact, where generalisations of an image's facts are right too (<person, ride, horse> "
    "makes <person, ride> and <person> right): share of images with at least one right fact among the first {k}, over "
    f"the images that have one; {_TIES}.",
    "generalised_mrr": "Image to fact, where generalisations of an image's facts are right too: mean over images of "
    f"1 / rank of the first right fact; {_TIES}.",
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
    "by_order": "All-facts mAP (map) and own-task mAP (own_task_map) after the last task, mean over the facts of one "
    "order that have a relevant image.",
    "by_training_count": "All-facts mAP (map) and own-task mAP (own_task_map) after the last task, over thirds of the "
    "facts sorted by falling number of training items (from `most` to `fewest` in each third); facts of one number "
    "are in one third, that of the middle of their places, and facts without a training item are in none.",
    "by_seen": "All-facts mAP (map) and own-task mAP (own_task_map) after the last task, over facts with a training "
    "item (seen), those without one whose every word is in the same slot of a fact that has one (unseen), and the "
    "other facts without one (unknown).",
    "swapped_roles": "Chance that an image that shows exactly one of <a, p, b> and <b, p, a> scores higher for that "
    "one, by the model after the last task (equal scores count one half): mean over the images of a fact, then over "
    "the one or two facts of a pair that have images, then over the pairs; 0.5 is chance.",
    "drift": "Row i, column j: after task i, mean over the images of task j of 1 - mean over slots of cos(kept slot "
    "vector, present slot vector), the kept one being of the model that had just learnt the first task of the image; "
    "average: mean of the last row over the tasks before the last.",
    "accuracy": "Recognition of single classes: a class is a fact of order 1, and an image is recognised if a class of "
    "its own scores highest.",
    "accuracy_within_task": "Only the classes of the image's task are told apart (the task is known).",
    "accuracy_all_classes": "All classes of the tasks seen so far are told apart (the task is not known).",
    "accuracy_per_image": f"Share of images that are recognised, mean over images; {_TIES}.",
    "accuracy_per_class": "Share of a class's images that are recognised, mean over the classes that have images; "
    f"{_TIES}.",
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
