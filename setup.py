"""Package mpn: MultiPoseNet in Keras."""

from setuptools import find_packages, setup

# The page of `demo.py --web`, and what looks at it in the tests, with a browser of the system.
WEB = ["gradio>=6.31"]
BROWSER = ["playwright>=1.45"]

setup(
    name="mpn",
    version="0.1.0",
    description="MultiPoseNet (ECCV 2018) in Keras: every person in a photo, 17 keypoints and a silhouette",
    long_description=open("README.md", encoding="utf-8").read(),
    long_description_content_type="text/markdown",
    license="MIT AND Apache-2.0",  # the shipped weights start from Google's, see NOTICE
    license_files=["LICENSE", "mpn/pretrained/LICENSE-APACHE-2.0", "mpn/pretrained/NOTICE"],
    python_requires=">=3.10",
    packages=find_packages(include=["mpn", "mpn.*"]),
    package_data={"mpn": ["deployment/templates/*", "pretrained/*", "pretrained/*/*"]},
    entry_points={
        "console_scripts": [
            "mpn-demo = mpn.demo.command:main.run",
            "mpn-evaluate = mpn.evaluation.command:main.run",
            "mpn-train-keypoints = mpn.training.commands:keypoints.run",
            "mpn-train-person = mpn.training.commands:person.run",
            "mpn-train-prn = mpn.training.commands:prn.run",
            "mpn-export = mpn.export:main.run",
        ]
    },
    # `.ci/oldest` runs the quick tests with the lowest version of each, one requirement a line.
    install_requires=[
        "tensorflow==2.21.*",  # runs the networks; keras-retinanet's layers are written for it
        "keras==3.15.*; python_version >= '3.11'",  # the models
        "keras==3.12.*; python_version < '3.11'",  # the last for Python 3.10
        "keras-retinanet==1.0.0",  # RetinaNet's heads, losses, anchors and filtering, as the paper used
        "pycocotools>=2.0.8",  # COCO's official metrics, and RLE silhouettes
        "numpy>=1.26.4",
        "opencv-python>=4.9.0.80",  # warps, rasterises, draws, and opens cameras and windows
        "pillow>=11.3.0",  # reads images (AVIF since 11.3) and class indices of PNGs
        "simplejpeg>=1.7.6",  # reads JPEGs and says what is damaged, which Pillow and OpenCV don't (0.4 MB)
        "av>=17.1.0",  # reads and writes videos; OpenCV hides times and errors. Older ones crash on FLV files
        "scikit-image>=0.22",  # keras-retinanet needs it
        "scipy>=1.11.4",  # the optimal assignment of peaks to people; scikit-image brings it anyway
        "h5py>=3.11",  # notes in weights files
        "matplotlib>=3.8.4",  # draws the charts of evaluate.py --curves and --errors, axes, ticks and legends included
        "tensorboard>=2.19",  # TensorFlow no longer brings it; Keras' log writer imports it
        "tqdm>=4.66.6",  # progress with a rate and the time left
    ],
    extras_require={
        # Engines of exported models, and what makes the exports.
        "onnx": ["onnxruntime>=1.20", "onnx>=1.17", "tf2onnx>=1.17"],
        "openvino": ["openvino>=2025.0"],
        "tflite": ["ai-edge-litert>=2.0"],  # runs .tflite files without TensorFlow, which writes them
        "int8": ["nncf>=3.0"],  # quantises OpenVINO's files; TensorFlow Lite's converter is in TensorFlow
        "web": WEB,
        "gpu": ["tensorflow[and-cuda]==2.21.*"],
        "test": ["pytest>=8", "pytest-xdist>=3.6", "ruff>=0.6", "nbclient>=0.10", "ipykernel>=6.29", *WEB, *BROWSER],
    },
)
