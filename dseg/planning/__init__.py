"""Plan a training that fits the data and the machine, with a reason for every choice."""

from dseg.planning.choose import NETWORK, Plan, make_plan
from dseg.planning.facts import DataFacts, Machine
from dseg.planning.run import apply_plan, needs_plan, plan_training
from dseg.planning.write import make_plan_text

__all__ = [
    "NETWORK",
    "DataFacts",
    "Machine",
    "Plan",
    "apply_plan",
    "make_plan",
    "make_plan_text",
    "needs_plan",
    "plan_training",
]
