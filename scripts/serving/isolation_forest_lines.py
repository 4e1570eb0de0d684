"""Answer JSON lines with scikit-learn's isolation forest: what `score.py --follow` is compared with.

Fits the forest, with its defaults, to rows in an .npy file, says "ready" on standard error, and answers each line of
standard input (`{"x0": number, "x1": number, ...}`) with its score and whether it is an anomaly.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sklearn.ensemble import IsolationForest

from jaxflow.config.command_line import ScriptParser, run_script


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, fit, answer."""
    parser = ScriptParser(prog="isolation_forest_lines.py", description=__doc__)
    parser.add_argument("--rows", type=Path, required=True, help=".npy file of the rows to fit to")
    parser.add_argument("--seed", type=int, default=0, help="of the forest (default: 0)")
    options = parser.parse_args(arguments)
    rows = np.load(options.rows, allow_pickle=False)
    forest = IsolationForest(random_state=options.seed).fit(rows)
    names = [f"x{index}" for index in range(rows.shape[1])]
    print("ready", file=sys.stderr, flush=True)
    for line in sys.stdin.buffer:
        record = json.loads(line)
        score = -float(forest.score_samples(np.array([[record[name] for name in names]]))[0])
        print(json.dumps({"score": score, "anomaly": int(score > -forest.offset_)}), flush=True)


if __name__ == "__main__":
    run_script(main)
