"""Predict how diabetes progresses: the experiment of many talks on tracking, with Everloop.

python train.py                  all twelve pairs of the talks' table
python train.py 0.05 0.9         one pair: alpha and l1_ratio of an ElasticNet
everloop runs list               the table
"""

import sys

import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.linear_model import ElasticNet
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error
from sklearn.model_selection import train_test_split

import everloop as ev

EXPERIMENT = "Diabetes progression predictions"
SEED = 40
PAIRS = [
    (0.06, 0.6), (0.03, 0.4), (0.05, 0.5), (0.05, 0.7), (0.05, 0.8), (0.05, 0.9),
    (0.02, 0.2), (0.03, 0.2), (0.04, 0.2), (0.05, 0.2), (0.05, 0.3), (0.07, 0.3),
]  # fmt: skip


def train(alpha: float, l1_ratio: float) -> None:
    """Train and evaluate one model, as one run."""
    with ev.start_run(
        EXPERIMENT, params={"alpha": alpha, "l1_ratio": l1_ratio}, seeds={"numpy": SEED, "model": 42}
    ) as run:
        np.random.seed(SEED)
        rows = load_diabetes(as_frame=True).frame
        known, unseen = train_test_split(rows)

        model = ElasticNet(alpha=alpha, l1_ratio=l1_ratio, random_state=42)
        model.fit(known.drop(columns="target"), known["target"])

        predicted = model.predict(unseen.drop(columns="target"))
        run.log_metrics(
            {
                "rmse": root_mean_squared_error(unseen["target"], predicted),
                "r2": r2_score(unseen["target"], predicted),
                "mae": mean_absolute_error(unseen["target"], predicted),
            }
        )


if __name__ == "__main__":
    chosen = [(float(sys.argv[1]), float(sys.argv[2]))] if len(sys.argv) == 3 else PAIRS
    for pair in chosen:
        train(*pair)
