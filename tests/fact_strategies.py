"""What hypothesis draws facts from: few words, so that facts share them."""

from __future__ import annotations

from hypothesis import strategies as st

from mas_triplets.facts import Fact

FACTS = st.lists(
    st.builds(lambda slots, order: Fact(*slots[:order]), st.tuples(*[st.sampled_from("abcd")] * 3), st.integers(1, 3)),
    min_size=1,
    max_size=25,
    unique=True,
)
"""One to 25 distinct facts of all orders."""
