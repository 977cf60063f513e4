"""Measures how fast the input pipelines of the three stages prepare samples.

`python -m mpn.studies.input_speed --coco DIR --cores 2`

Nothing is trained: batches of the stages' default sizes are made and thrown away. Other programs
lower the samples a second. They hardly change the processor time.
"""

import itertools
import os
import time

from mpn.cli.script import import_tensorflow, run
from mpn.cli.settings import module_parser
from mpn.errors import UserError
from mpn.evaluation.tables import markdown
from mpn.kinds import positive_int

HEADER = ("stage", "samples a second", "processor ms a sample", "of these for decoding", "cores for 100 a second")

# Batches before the clock starts: the pipelines fill their buffers.
_WARM_UP = 4


def measure(batches, batch_size, samples):
    """Takes `samples` samples or a few more from an endless tf.data.Dataset of batches, warm.

    Returns samples a second, by the clock, and seconds of processor time a sample, over all threads.
    """
    iterator = iter(batches)
    for _ in range(_WARM_UP):
        next(iterator)
    steps = -(-samples // batch_size)
    clock, processor = time.perf_counter(), time.process_time()
    for _ in range(steps):
        next(iterator)
    clock, processor = time.perf_counter() - clock, time.process_time() - processor
    return steps * batch_size / clock, processor / (steps * batch_size)


def decoding_time(records, samples):
    """Seconds of processor time to read and decode the image of one of the ImageRecords: the mean of `samples`."""
    from mpn.data.coco import read_record

    start = time.process_time()
    for record in itertools.islice(itertools.cycle(records), samples):
        read_record(record)
    return (time.process_time() - start) / samples


def pipelines(records):
    """A dict of stage to its endless batches from ImageRecords, at the default settings, and the size of a batch."""
    from mpn.data.keypoints import keypoint_dataset
    from mpn.data.person import person_dataset, valid_boxes
    from mpn.data.prn import collect_people, prn_dataset
    from mpn.training.settings import KeypointTraining, PersonTraining, PrnTraining

    keypoints, person, prn = KeypointTraining(), PersonTraining(), PrnTraining()
    with_people = [record for record in records if len(record.boxes)]
    with_boxes = [record for record in records if len(valid_boxes(record)[0])]
    return {
        "keypoints": (
            keypoint_dataset(with_people, keypoints.image_size, keypoints.batch_size, ("heatmaps",), keypoints),
            keypoints.batch_size,
        ),
        "person": (person_dataset(with_boxes, person.image_size, person.batch_size), person.batch_size),
        "prn": (prn_dataset(collect_people(records), prn.batch_size, prn.margin), prn.batch_size),
    }


def speed_table(records, samples):
    """Rows of HEADER for the three stages. Stage 3 has people as samples, and 20 times as many."""
    decoding = decoding_time([record for record in records if len(record.boxes)], samples)
    rows = []
    for stage, (batches, batch_size) in pipelines(records).items():
        from_labels = stage == "prn"
        rate, processor = measure(batches, batch_size, samples * (20 if from_labels else 1))
        decoded = "-" if from_labels else f"{1000 * decoding:.1f}"
        cells = f"{rate:,.1f}", f"{1000 * processor:.2f}", decoded, f"{100 * processor:.2f}"
        rows.append((stage, *cells))
    return rows


def use_cores(count):
    """Limits this process to `count` of its cores; UserError where there are fewer, or the system cannot do that."""
    if not hasattr(os, "sched_setaffinity"):
        raise UserError("--cores needs Linux: leave it out to measure with all cores")
    mine = sorted(os.sched_getaffinity(0))
    if count > len(mine):
        raise UserError(f"--cores {count} is more than the {len(mine)} that this process may use")
    os.sched_setaffinity(0, mine[:count])


def main(argv=None):
    parser = module_parser(__spec__, __doc__)
    parser.add_argument("--coco", metavar="DIR", default=os.environ.get("MPN_COCO"), help="folder in COCO layout")
    parser.add_argument("--split", choices=("train", "val"), default="train", help="which images")
    parser.add_argument("--cores", type=positive_int, metavar="N", help="use N cores alone; default: all")
    parser.add_argument("--samples", type=positive_int, default=400, metavar="N", help="images for a measurement")
    options = parser.parse_args(argv)
    if options.cores:
        use_cores(options.cores)  # before TensorFlow and the pipelines count them
    import_tensorflow()
    from mpn.data.coco import annotation_file, check_images, load_coco
    from mpn.evaluation.coco import check_labelled

    records = load_coco(options.coco, options.split)
    check_labelled(records, annotation_file(options.coco, options.split))
    check_images(records)
    size = sum(os.path.getsize(record.path) for record in records) / len(records)
    rows = speed_table(records, options.samples)
    print(f"cores: {options.cores or 'all'}; {len(records)} images of {size / 1000:,.0f} kB on average")
    print(markdown(HEADER, rows))


if __name__ == "__main__":
    run(main)
