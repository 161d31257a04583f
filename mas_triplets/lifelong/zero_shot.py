"""Zero-shot: the model as it is before anything is learnt, judged on every task."""

from __future__ import annotations

from mas_triplets.lifelong.strategy import Strategy


class ZeroShot(Strategy):
    """No step is taken: what the encoders know already, and what every method that learns has to beat."""

    name = "zero-shot"
    closed_form = True
    first_task_is_plain = False
