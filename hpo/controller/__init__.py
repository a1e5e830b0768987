"""What to train next and what has happened, whoever runs the trials: `Controller`."""

from hpo.controller.controller import Controller
from hpo.controller.protocol import (
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
from hpo.controller.retries import Retries
from hpo.controller.trouble import is_full
from hpo.study.budget import SPENT_TIME

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
    "Retries",
    "SetAside",
    "Start",
    "Wait",
    "is_full",
]
