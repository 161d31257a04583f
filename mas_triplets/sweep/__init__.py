"""Sweeps: settings chosen on validation pictures, methods judged over orders of tasks, each run once."""

from __future__ import annotations

from mas_triplets.sweep.carry_out import sweep
from mas_triplets.sweep.grid import parse_grids
from mas_triplets.sweep.methods import Method
from mas_triplets.sweep.plan import SweepPlan, make_plan

__all__ = ["Method", "SweepPlan", "make_plan", "parse_grids", "sweep"]
