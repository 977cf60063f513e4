"""Evaluates a model on COCO: official keypoint and box metrics for val and train, a zip to upload for test-dev.

With --voc it measures person segmentation on PASCAL VOC 2012 instead.
"""

import argparse

from mpn.cli.script import import_tensorflow, run


def main(argv=None):
    import_tensorflow()
    from mpn.cli.arguments import ImageSize, add_coco_option, add_view_options, natural, odd, positive_int, share
    from mpn.config import PRN_ASSIGNMENTS
    from mpn.data.voc import SPLITS as VOC_SPLITS
    from mpn.errors import UserError
    from mpn.evaluation.evaluate import evaluate
    from mpn.evaluation.sources import BOX_SOURCES, KEYPOINT_SOURCES
    from mpn.evaluation.voc import evaluate_voc
    from mpn.inference.ensemble import OKS_THRESHOLD
    from mpn.inference.grouping import GROUPINGS
    from mpn.models.person import NMS_THRESHOLD
    from mpn.precision import INFERENCE_PRECISIONS

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter, allow_abbrev=False
    )
    add_coco_option(parser)
    parser.add_argument(
        "--annotations", metavar="FILE", help="COCO keypoints JSON (or .gz) instead of --coco: no images"
    )
    parser.add_argument(
        "--voc", metavar="DIR", help="only measure silhouettes (Table 5, right), on this folder VOC2012 of PASCAL VOC"
    )
    parser.add_argument(
        "--voc-split", choices=VOC_SPLITS, default="val", help="test has no masks: it writes what the server takes"
    )
    parser.add_argument("--split", choices=("val", "test-dev", "train"), default="val", help="which images")
    parser.add_argument(
        "--held-out",
        type=share,
        metavar="SHARE",
        help="only images of --split train that training with --hold-out SHARE left out",
    )
    parser.add_argument("--seed", type=natural, default=0, help="of the training whose held-out images are taken")
    parser.add_argument(
        "--model",
        metavar="DIR",
        action="append",
        default=["models/multiposenet"],
        help="model directory; given several times, an ensemble",
    )
    parser.add_argument(
        "--oks-threshold",
        type=share,
        help=f"OKS above which two poses are one person; default: {OKS_THRESHOLD} for an ensemble, off for one model",
    )
    parser.add_argument(
        "--refine", metavar="DIR", help="look at each person again with the refinement network in this directory (§4.2)"
    )
    parser.add_argument(
        "--keypoints",
        metavar="SOURCE",
        default="network",
        help=f"where peaks come from: {', '.join(KEYPOINT_SOURCES)} or a JSON list of image_id, joint, x, y, score",
    )
    parser.add_argument(
        "--boxes",
        metavar="SOURCE",
        default="network",
        help=f"where person boxes come from: {', '.join(BOX_SOURCES)} or a COCO detections JSON",
    )
    parser.add_argument("--grouping", choices=(*GROUPINGS, "oracle"), default="prn", help="see Table 3")
    parser.add_argument("--window", type=odd, help="of the PRN's grouping, in cells; default: the model's")
    parser.add_argument("--assignment", choices=PRN_ASSIGNMENTS, help="of the PRN's grouping; default: the model's")
    parser.add_argument("--limit", type=positive_int, metavar="N", help="first N images only")
    parser.add_argument(
        "--image-size", action=ImageSize, metavar="SIDE", help="SHORTER [LONGEST] side of images; default: the model's"
    )
    parser.add_argument("--precision", choices=INFERENCE_PRECISIONS, default="auto", help="bfloat16 where it is fast")
    parser.add_argument(
        "--nms-threshold", type=share, default=NMS_THRESHOLD, help="IoU above which the worse of two boxes is dropped"
    )
    add_view_options(parser)
    parser.add_argument("--square", action="store_true", help="pad images to squares, as stage 1 does; slower")
    parser.add_argument(
        "--silhouette-threshold", type=share, default=0.5, help="above which the silhouette channel says person"
    )
    parser.add_argument("--output", metavar="DIR", default="results", help="folder of the result files")
    parser.add_argument("--name", default="mpn", help="your method's name in the names of the result files")
    parser.add_argument("--metrics", metavar="FILE.json", help="write every figure printed, in 0-1")
    parser.add_argument("--curves", metavar="DIR", help="write recall-precision curves of keypoints: .csv and .png")
    parser.add_argument(
        "--errors", metavar="DIR", help="write which errors poses have and what each kind costs: .csv, .json and .png"
    )
    options = parser.parse_args(argv)
    options.model = options.model[1:] or options.model  # argparse keeps the default before what is given
    if options.voc is not None:
        if len(options.model) > 1:
            raise UserError("--voc is about one model: give one --model")
        evaluate_voc(options)
        return
    evaluate(options)


if __name__ == "__main__":
    run(main)
