"""The whole system once, small and without any download: `python -m mpn.quickstart` in a clone of the repository.

It writes a synthetic set in COCO layout, trains the three stages on eight of its pictures until a light network knows
them by heart, evaluates on those eight with the official metrics and draws their poses. This shows that every part
works, not what the full model can do on pictures that it has never seen.
"""

import argparse
import pathlib
import shlex
import subprocess
import sys
import time

from mpn.cli.script import run
from mpn.errors import UserError

SCRIPTS = ("train_keypoints.py", "train_person.py", "train_prn.py", "evaluate.py", "demo.py")

# Each step is a title and a command for Python. `commands` replaces the words in capitals by paths.
STEPS = """
synthetic photographs in COCO layout
-m mpn.synthetic COCO --train 8 --val 8 --test 4 --image-size 256 192 --seed 1

stage 1: backbone and keypoint subnet
train_keypoints.py --coco COCO --model MODEL --precision mixed_bfloat16 --hold-out 0
    --backbone mobilenet_v2 --width 0.35 --backbone-weights none --keypoint-channels 48 32 --person-channels 48 48
    --framing image --rotation 0 --scale 1 1 --mirror 0 --image-size 192 --inference-size 192 192
    --learning-rate 2e-3 --epochs 10 --steps-per-epoch 25 --batch-size 8

stage 2: person subnet on the frozen backbone
train_person.py --coco COCO --model MODEL --precision mixed_bfloat16 --hold-out 0
    --image-size 192 192 --learning-rate 1e-3 --epochs 8 --steps-per-epoch 25 --batch-size 8 --mirror 0

stage 3: Pose Residual Network
train_prn.py --coco COCO --model MODEL --precision mixed_bfloat16 --hold-out 0
    --nodes 256 --loss cross-entropy --learning-rate 1e-3 --epochs 5 --steps-per-epoch 25 --batch-size 16

evaluation with COCO's metrics, on the pictures that were trained on
evaluate.py --coco COCO --model MODEL --split train --output RESULTS --metrics METRICS

drawings
demo.py PICTURES --model MODEL --output RESULTS
"""


def commands(folder):
    """The quick start's commands in a folder (pathlib.Path): a list of (title, arguments for Python)."""
    places = {
        "COCO": folder / "coco",
        "MODEL": folder / "model",
        "RESULTS": folder / "results",
        "METRICS": folder / "results" / "metrics.json",
        "PICTURES": folder / "coco" / "train2017",
    }
    steps = (step.split("\n", 1) for step in STEPS.strip().split("\n\n"))
    return [(title, [str(places.get(word, word)) for word in command.split()]) for title, command in steps]


def quickstart(folder):
    """Runs the commands and shows each. Raises UserError where the folder is not empty or a command fails."""
    missing = [name for name in SCRIPTS if not pathlib.Path(name).is_file()]
    if missing:
        raise UserError(f"{missing[0]} is not here: run python -m mpn.quickstart in a clone of the repository")
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder} is not empty: remove it or pass another --output")
    start = time.monotonic()
    steps = commands(folder)
    for number, (title, arguments) in enumerate(steps, start=1):
        print(f"\n[{number}/{len(steps)}] {title}\n$ python {shlex.join(arguments)}", flush=True)
        status = subprocess.run([sys.executable, *arguments]).returncode
        if status:
            raise UserError(f"{title} failed with exit status {status}; see its message above")
    print(f"\nDone in {time.monotonic() - start:.0f} s: look at the drawings in {folder / 'results'}")


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("quickstart"), help="folder to fill")
    quickstart(parser.parse_args(argv).output)


if __name__ == "__main__":
    run(main)
