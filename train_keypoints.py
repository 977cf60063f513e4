"""Stage 1 of 3: trains backbone and keypoint subnet on COCO. Next: train_person.py."""

from mpn.cli.script import import_tensorflow, run


def main(argv=None):
    import_tensorflow()
    from mpn.cli.arguments import ImageSize, degrees, non_negative, positive_float, positive_int, share
    from mpn.config import BACKBONES, ModelConfig
    from mpn.data.patches import PatchAugmentation
    from mpn.heatmaps import SIGMA, STRIDE
    from mpn.models.backbone import LEVELS
    from mpn.training.keypoints import train_keypoints
    from mpn.training.losses import SILHOUETTE_WEIGHT
    from mpn.training.options import parse, training_parser

    parser = training_parser(__doc__, "keypoints", epochs=100, batch_size=8, learning_rate=1e-4)
    parser.add_argument("--image-size", type=positive_int, default=480, help="side of the square training patches")
    config = parser.add_argument_group("architecture")
    config.add_argument("--backbone", choices=BACKBONES, default=ModelConfig.backbone, help="feature extractor")
    config.add_argument("--dilated", action="store_true", help="ResNet conv5 dilated instead of strided (Table 2)")
    config.add_argument("--width", type=positive_float, default=1.0, help="channel multiplier of a MobileNet")
    config.add_argument("--keypoint-channels", type=positive_int, default=256, help="depth of K2-K5")
    config.add_argument("--keypoint-head-channels", type=positive_int, default=128, help="depth of each D level")
    config.add_argument("--person-channels", type=positive_int, default=256, help="depth of P3-P7")
    config.add_argument("--person-head-channels", type=positive_int, default=256, help="depth of RetinaNet's heads")
    config.add_argument("--no-concat", dest="concat", action="store_false", help="Table 2's row of that name")
    config.add_argument(
        "--no-int", dest="intermediate_supervision", action="store_false", help="no losses on K2-K5 (Table 2)"
    )
    config.add_argument(
        "--inference-size",
        action=ImageSize,
        metavar="SIDE",
        help="SHORTER [LONGEST] side of images for inference; default: --image-size and 5/3 of it",
    )
    config.add_argument("--backbone-weights", default="imagenet", help="imagenet (downloads), none, or a local .h5")
    config.add_argument(
        "--initial-model",
        metavar="DIR",
        help="start from the backbone and keypoint subnet of this model directory, or of a model that comes with the "
        "package, and take its architecture too, instead of --backbone-weights and the options above",
    )
    config.add_argument(
        "--batch-normalization",
        choices=("auto", "train", "frozen", "folded"),
        default="auto",
        help="auto trains it from batch size 8 up; folded works it into the convolutions for good, which trains faster",
    )
    config.add_argument(
        "--frozen-up-to", choices=LEVELS, metavar="LEVEL", help="C2 to C5: backbone layers that keep their weights"
    )
    config.add_argument("--sigma", type=positive_float, default=SIGMA * STRIDE, help="of target Gaussians, in pixels")
    config.add_argument(
        "--foreground", type=non_negative, default=0.0, help="additional weight of a keypoint's cells in the loss"
    )
    config.add_argument(
        "--silhouette-weight", type=non_negative, default=SILHOUETTE_WEIGHT, help="of its channel, beside 1 a keypoint"
    )
    config.add_argument(
        "--refiner",
        action="store_true",
        help="train a refinement network (§4.2) instead, which finds the keypoints of one person at a time: for "
        "--refine of evaluate.py and demo.py",
    )
    data = parser.add_argument_group("data")
    data.add_argument(
        "--partial", metavar="DIR", help="more people with some keypoints: images/, annotations.json in COCO's format"
    )
    data.add_argument("--partial-share", type=share, default=0.3, help="share of the samples that come from --partial")
    data.add_argument("--cache-images", action="store_true", help="keep decoded images in memory")
    augmentation = parser.add_argument_group("augmentation")
    default = PatchAugmentation()
    augmentation.add_argument(
        "--framing", choices=("person", "image"), default="person", help="what a patch is centred on and scaled to"
    )
    augmentation.add_argument(
        "--person-share", type=positive_float, default=default.person_share, help="of the patch side, for person"
    )
    augmentation.add_argument(
        "--enlargement", type=positive_float, default=default.enlargement, help="largest scale of a person, for person"
    )
    augmentation.add_argument("--rotation", type=degrees, default=default.rotation, help="largest, in degrees")
    augmentation.add_argument(
        "--scale", type=positive_float, nargs=2, default=list(default.scale), metavar=("LEAST", "MOST"), help="factor"
    )
    augmentation.add_argument(
        "--shift", type=share, default=default.shift, help="largest move from the middle, of the patch side"
    )
    augmentation.add_argument("--mirror", type=share, default=default.mirror, help="probability")
    augmentation.add_argument("--colour", type=share, default=default.colour, help="strength of random colours")
    augmentation.add_argument("--occlusion", type=share, default=default.occlusion, help="probability")
    augmentation.add_argument(
        "--paste", type=share, default=default.paste, help="probability of pasting a person of another image"
    )
    train_keypoints(parse(parser, argv))


if __name__ == "__main__":
    run(main)
