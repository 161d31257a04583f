"""For all tests: one thread a process, since the test processes run side by side (see the Makefile)."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read by PyTorch and FAISS when they are imported, so it comes first
