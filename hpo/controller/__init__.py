"""What to train next and what has happened, whoever runs the trials: `Controller`."""

from hpo.controller.controller import (
    Controller,
    Drop,
    End,
    Failed,
    Finished,
    Late,
    Lost,
    NothingLeft,
    Order,
    Resume,
    SetAside,
    Start,
    Wait,
)
from hpo.controller.limits import SPENT_TIME
from hpo.controller.retries import is_full

__all__ = [
    "SPENT_TIME",
    "Controller",
    "Drop",
    "End",
    "Failed",
    "Finished",
    "Late",
    "Lost",
    "NothingLeft",
    "Order",
    "Resume",
    "SetAside",
    "Start",
    "Wait",
    "is_full",
]
