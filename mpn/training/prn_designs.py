"""Whole configurations of stage 3: what `train_prn.py --design NAME` sets at once."""

# §3.4, §3.5, §4.2, with the 21 % of context around a box that the authors' code has.
PAPER = {
    "nodes": 1024,
    "layers": 1,
    "dropout": 0.5,
    "residual": True,
    "pool": 1,
    "residual_gain": False,
    "margin": 0.21,
    "window": 15,
    "assignment": "greedy",
    "loss": "bce",
    "curriculum": True,
    "box_jitter": 0.0,
    "mirror": 0.0,
    "displacement": 0.0,
    "dropped": 0.0,
    "false_peaks": 0.0,
    "least_height": 1.0,
    "schedule": "plateau",
    "learning_rate": 1e-4,
}

BEST = {
    **PAPER,
    "dropout": 0.3,
    "pool": 4,
    "residual_gain": True,
    "margin": 0.5,
    "window": 11,
    "assignment": "optimal",
    "loss": "cross-entropy",
    "curriculum": False,
    "box_jitter": 0.1,
    "mirror": 0.5,
    "schedule": "cosine",
    "learning_rate": 1e-3,
}

DESIGNS = {"paper": PAPER, "best": BEST, "compact": {**BEST, "nodes": 512, "dropout": 0.0}}
