"""README.md of an export: what goes in, what comes out, and code that runs it, which a test executes."""

import pathlib

_WITH_MPN = {
    False: """\
from mpn import MultiPoseNet
from mpn.images import read_image

people = MultiPoseNet.load(".").predict(read_image("photo.jpg"))
for person in people:
    print(person.score, person.box, person.keypoints)
""",
    True: """\
from mpn import MultiPoseNet
from mpn.images import read_image
from mpn.inference.refiner import Refiner

image = read_image("photo.jpg")
people = MultiPoseNet.load("small").predict(image)
print(Refiner.load(".").refine(image, people))
""",
}

# Format -> code that defines `run`.
_RUN = {
    "onnx": """\
import onnxruntime

def run(name, **inputs):
    session = onnxruntime.InferenceSession(f"{name}.onnx")
    return dict(zip([output.name for output in session.get_outputs()], session.run(None, inputs)))
""",
    "openvino": """\
import openvino

def run(name, **inputs):
    outputs = openvino.compile_model(f"{name}.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(inputs)
    return {output.any_name: value for output, value in outputs.items()}
""",
    "saved_model": """\
import tensorflow as tf

def run(name, **inputs):
    return {key: value.numpy() for key, value in tf.saved_model.load(name).signatures["serving_default"](**inputs).items()}
""",
    "tflite": """\
import tensorflow as tf

def run(name, **inputs):
    return tf.lite.Interpreter(f"{name}.tflite").get_signature_runner()(**inputs)
""",
}
_POSES = """\
image = cv2.imread("photo.jpg")[..., ::-1]
scale = min(SHORTER / min(image.shape[:2]), LONGEST / max(image.shape[:2]))
image = cv2.resize(image, None, fx=scale, fy=scale)
height, width = image.shape[:2]
image = np.pad(image, PADDING)[None]
seen = run("network", images=image)
boxes = run("boxes", shape=np.int32(image.shape[1:3]), regression=seen["regression"], classification=seen["classification"])
found = run("detect", heatmaps=seen["heatmaps"], size=np.float32([width, height]), **boxes)
scores = run("group", **{name: found[name] for name in ("boxes", "peaks", "peak_scores")})["candidates"]
for box, candidates in zip(found["boxes"], scores):
    best = candidates.argmax(axis=1)
    print(box / scale, found["peaks"][range(17), best] / scale, candidates[range(17), best])
"""

_CROPS = """\
crop = cv2.resize(cv2.imread("photo.jpg")[..., ::-1], (SHORTER, SHORTER))
heatmaps = run("network", images=crop[None])["heatmaps"]
print(run("peaks", heatmaps=heatmaps[..., :17])["keypoints"])
"""

_POSE_GRAPHS = """\
| graph | inputs | outputs |
|---|---|---|
| network | images (1, H, W, 3) uint8 RGB, PIXELS | heatmaps (H/4, W/4, 18): 17 keypoints and the silhouette, about 0 to 1; regression (A, 4) and classification (A,) of A anchors |
| boxes | regression, classification, shape (2,) int32: H and W | boxes (C, 4), box_scores (C,): before suppression |
| detect | heatmaps, boxes, box_scores, size (2,): width and height without padding | boxes (N, 4) and box_scores (N,), best first; peaks (17, M, 2), peak_scores (17, M), 0 for none; silhouette (H/4, W/4) |
| group | boxes, peaks, peak_scores | candidates (N, 17, M): how well each peak suits each box, 0 to 1; guesses (N, 17, 2) and guess_scores (N, 17) where a keypoint has no peak |

Boxes are [x1, y1, x2, y2]. Boxes, peaks and guesses are pixels of the network's input, where pixel i spans [i, i + 1):
divide them by the scale for pixels of the photograph. Scores and confidences are 0 to 1. Numbers are float32 but where
it says so. Where "boxes" finds none, there is nobody, and the later graphs need not run.

The graphs end at how well peaks suit boxes: giving each peak to one box at most is an assignment, for which graph
formats have no operator. The second code below takes the best peak of each box instead; mpn assigns, and guesses the
keypoints without peaks.
"""

_CROP_GRAPHS = """\
| graph | inputs | outputs |
|---|---|---|
| network | images (N, SHORTER, SHORTER, 3) uint8 RGB: crops of one person each, PIXELS | heatmaps (N, SHORTER/4, SHORTER/4, 18): 17 keypoints and the silhouette, about 0 to 1 |
| peaks | heatmaps (N, SHORTER/4, SHORTER/4, 17), without the silhouette | keypoints (N, 17, 3): x and y in pixels of the crop, confidence 0 to 1 |

The longer side of the person's box is SHARE of the crop's side. Numbers are float32 but where it says so.
"""

_PAGE = """\
# MultiPoseNet as FORMAT

Made by `python -m mpn.export --format FORMAT`; network in PRECISION. Each graph is a file or folder of its name.

GRAPHS
Keypoints in COCO's order: nose, left eye, right eye, left ear, right ear, left shoulder, right shoulder, left elbow,
right elbow, left wrist, right wrist, left hip, right hip, left knee, right knee, left ankle, right ankle.

With mpn (this folder as the working folder):

```python
WITH_MPN```

Without mpn:

```python
import cv2
import numpy as np
WITHOUT_MPN```
"""


def write_readme(folder, config, note):
    """Writes README.md into the folder of an export.

    Args:
        folder: path.
        config: ModelConfig.
        note: ExportNote.
    """
    fixed = note.input_size
    padding = "((0, -height % 32), (0, -width % 32), (0, 0))"
    pixels = "H and W multiples of 32"
    if fixed:
        padding = f"((0, {fixed[0]} - height), (0, {fixed[1]} - width), (0, 0))"
        pixels = f"H = {fixed[0]} and W = {fixed[1]}"
    words = {
        "GRAPHS": _CROP_GRAPHS if note.refiner else _POSE_GRAPHS,
        "WITHOUT_MPN": _RUN[note.format] + "\n" + (_CROPS if note.refiner else _POSES),
        "WITH_MPN": _WITH_MPN[note.refiner],
        "PIXELS": ("N = 1" if fixed else "N any number") if note.refiner else pixels,
        "PADDING": padding,
        "SHORTER": config.image_size[0],
        "LONGEST": config.image_size[1],
        "SHARE": config.refiner_share,
        "FORMAT": note.format,
        "PRECISION": note.precision,
    }
    page = _PAGE
    for word, text in words.items():
        page = page.replace(word, str(text))
    (pathlib.Path(folder) / "README.md").write_text(page, encoding="utf-8")
