"""A script that goes on where it was: it keeps its state in the folder HPO_CHECKPOINT, and reports by `hpo.report`.

It runs alone too: `HPO_CHECKPOINT=/tmp python train.py --lr 0.1`.
"""

import argparse
import json
import os
from pathlib import Path

import hpo

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)
parser.add_argument("--epochs", type=int, default=9)
arguments = parser.parse_args()

checkpoint = Path(os.environ.get("HPO_CHECKPOINT", ".")) / "state.json"
epoch, x = json.loads(checkpoint.read_text()) if checkpoint.exists() else (0, 5.0)
while epoch < arguments.epochs:
    epoch += 1
    x -= arguments.lr * 2 * (x - 1.0)
    loss = (x - 1.0) ** 2
    checkpoint.write_text(json.dumps([epoch, x]))  # before the report: a trial may end there, to go on later
    print(f"epoch {epoch}: loss {loss:.6f}")
    hpo.report(epoch=epoch, loss=loss)
