"""Exact per-sample statistics of parameter gradients, at about the cost of one backward pass."""
