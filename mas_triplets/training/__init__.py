"""Training over a sequence of tasks: the loop, what must survive it, and the run folder."""
