import cv2
import numpy as np
import pytest

from mpn.demo.drawing import LEAST_DRAWN_CONFIDENCE, draw_people
from mpn.people import GUESS_CONFIDENCE, Person, SilhouetteMap
from mpn.skeleton import KEYPOINTS


def make_person(box=(20, 20, 80, 140), keypoints=(), score=0.8, silhouettes=None):
    """A Person with the given (name, x, y, confidence) and every other keypoint at confidence 0."""
    table = np.zeros((17, 3), np.float32)
    for name, *values in keypoints:
        table[KEYPOINTS.index(name)] = values
    return Person(np.array(box, np.float32), 0.9, table, score, silhouettes)


def grey(height=160, width=120):
    return np.full((height, width, 3), 128, np.uint8)


def changed(image, drawing):
    """(H, W) bool: pixels that differ."""
    return (image != drawing).any(axis=2)


def test_no_people_is_the_image_itself():
    image = grey()
    drawing = draw_people(image, [])
    assert (drawing == image).all() and drawing is not image and not np.shares_memory(drawing, image)


def test_image_and_people_are_left_alone():
    image, person = grey(), make_person(keypoints=[("nose", 50, 40, 0.9)])
    keypoints = person.keypoints.copy()
    drawing = draw_people(image, [person])
    assert (image == 128).all() and (person.keypoints == keypoints).all()
    assert drawing.dtype == np.uint8 and drawing.shape == image.shape and changed(image, drawing).any()
    assert (drawing == draw_people(image, [person])).all()


def test_joint_is_drawn_where_it_is():
    image = grey()
    off_image = (-50, -50, -10, -10)
    drawing = draw_people(image, [make_person(off_image, [("left_knee", 60.5, 100.5, 1.0)])])
    rows, columns = np.nonzero(changed(image, drawing))
    assert len(rows) and abs(rows.mean() - 100) < 0.2 and abs(columns.mean() - 60) < 0.2
    assert np.ptp(rows) <= 8


def test_unsure_keypoints_and_their_limbs_are_not_drawn():
    image = grey()
    shoulder, elbow = ("left_shoulder", 40, 40, 0.9), ("left_elbow", 70, 100)

    def pixels(confidence):
        person = make_person((-9, -9, -5, -5), [shoulder, (*elbow, confidence)])
        return changed(image, draw_people(image, [person], threshold=0.2))

    assert pixels(0.25)[99:101, 69:71].any() and pixels(0.25)[70, 55]
    assert not pixels(0.15)[60:].any() and pixels(0.15)[40, 40]


def test_keypoints_that_nobody_would_believe_are_not_drawn_unless_asked_for():
    image = grey()

    def drawn(confidence, **options):
        keypoints = [("left_shoulder", 40, 40, 0.9), ("left_elbow", 70, 100, confidence)]
        return changed(image, draw_people(image, [make_person((-9, -9, -5, -5), keypoints)], **options))[60:].any()

    least = np.float32(LEAST_DRAWN_CONFIDENCE)
    assert least > GUESS_CONFIDENCE
    assert drawn(least) and not drawn(np.nextafter(least, np.float32(0))) and not drawn(0)
    assert drawn(GUESS_CONFIDENCE, threshold=GUESS_CONFIDENCE / 2)


def test_confidence_is_visible():
    image = grey()

    def ink(confidence):
        keypoints = [("left_hip", 60, 60, confidence), ("left_knee", 60, 110, confidence)]
        drawing = draw_people(image, [make_person((-9, -9, -5, -5), keypoints)], threshold=0)
        return np.abs(drawing.astype(int) - image).sum()

    assert 0 < 1.5 * ink(0.2) < ink(0.9)


def test_silhouettes_are_tinted_inside_their_boxes_and_each_pixel_once():
    image = grey()
    silhouettes = SilhouetteMap(np.ones((40, 30), np.float32), (160, 120))
    large = make_person((0, 0, 120, 120), silhouettes=silhouettes)
    small = make_person((40, 40, 80, 80), silhouettes=silhouettes)
    drawing = draw_people(image, [large, small])
    # A label lies in each box's upper left corner, so look at the others.
    assert (drawing[140, 60] == 128).all() and (drawing[100, 100] != 128).any()
    assert (drawing[60, 60] != drawing[100, 100]).any()
    # Colours go by the order of people; were they mixed where boxes overlap, these would differ.
    swapped = draw_people(image, [small, large])
    assert (swapped[60, 60] == drawing[100, 100]).all() and (swapped[100, 100] == drawing[60, 60]).all()


def test_silhouette_of_another_image_is_an_error():
    person = make_person(silhouettes=SilhouetteMap(np.ones((40, 30), np.float32), (80, 60)))
    with pytest.raises(ValueError, match="silhouettes"):
        draw_people(grey(), [person])


def test_box_outline_and_score_label():
    image = np.zeros((480, 640, 3), np.uint8)
    drawing = draw_people(image, [make_person((100, 100, 300, 400))])
    outlined = changed(image, drawing)
    assert outlined[250, 100] and outlined[250, 299] and outlined[399, 200] and not outlined[250, 200]
    assert outlined[85:99, 102:120].mean() > 0.9  # the label sits above the corner
    other = draw_people(image, [make_person((100, 100, 300, 400), score=0.3)])
    assert (other != drawing).any()


def test_a_label_is_left_out_where_it_would_hide_the_person():
    image = grey(480, 640)
    for width, labelled in ((6, False), (60, True)):
        drawing = draw_people(image, [make_person((300, 200, 300 + width, 260))])
        assert changed(image, drawing)[180:199].any() == labelled


def outline_colours(count, **options):
    """(count, 3): the colour of each person's box, side by side on a black image."""
    people = [make_person((50 * index, 10, 50 * index + 40, 90)) for index in range(count)]
    drawing = draw_people(np.zeros((100, 640, 3), np.uint8), people, **options)
    return drawing[60, : 50 * count : 50].astype(int)


def test_people_have_colours_that_can_be_told_apart():
    colours = outline_colours(12)
    lab = cv2.cvtColor((colours[None] / 255).astype(np.float32), cv2.COLOR_RGB2Lab)[0]
    distances = np.linalg.norm(lab[:, None] - lab[None], axis=2) + 1000 * np.eye(12)
    assert distances.min() > 20  # a difference of about 2 can just be seen
    assert distances[:4, :4].min() > 60  # few people have colours that are far apart
    assert lab[:, 0].min() > 45  # bright enough for dark letters


def test_colours_can_be_given():
    assert (outline_colours(3, colours=[2, 0, 1]) == outline_colours(3)[[2, 0, 1]]).all()
    assert (outline_colours(2, colours=[12, 25]) == outline_colours(2)).all()
    with pytest.raises(ValueError):
        draw_people(grey(), [make_person()], colours=[])


@pytest.mark.parametrize("box", [(-30, -30, 50, 60), (90, 120, 500, 700), (-1e9, -1e9, 1e9, 1e9)])
def test_boxes_partly_outside(box):
    image = grey()
    assert changed(image, draw_people(image, [make_person(box)])).any()


@pytest.mark.parametrize("box", [(np.nan, 0, 9, 9), (50, 50, 50, 50), (80, 80, 20, 20), (900, 900, 990, 990)])
def test_odd_boxes_and_keypoints_do_no_harm(box):
    image = grey()
    keypoints = [("nose", np.nan, 5, 0.9), ("left_eye", 1e30, -1e30, 0.9), ("left_hip", 60, 60, 7.0)]
    with np.errstate(invalid="raise"):  # not-a-number that becomes a pixel position
        drawing = draw_people(image, [make_person(box, keypoints), make_person((-9, -9, -5, -5), keypoints)])
    assert changed(image, drawing)[60, 60] and drawing.shape == image.shape


@pytest.mark.parametrize("size", [(1, 1), (1, 16), (2, 2), (16, 16), (16, 3), (3, 2000)])
def test_tiny_images(size):
    height, width = size
    rng = np.random.default_rng(0)
    keypoints = np.concatenate([rng.uniform(-1, 2, (17, 2)) * (width, height), np.ones((17, 1))], axis=1)
    silhouettes = SilhouetteMap(np.ones((1, 1), np.float32), size)
    box = np.array([0, 0, width, height], np.float32)
    person = Person(box, 1.0, keypoints.astype(np.float32), 1.0, silhouettes)
    assert draw_people(np.zeros((*size, 3), np.uint8), [person]).shape == (*size, 3)


def test_lines_grow_with_the_image():
    def width(factor):
        image = grey(480 * factor, 640 * factor)
        hips = [("left_hip", 300 * factor, 100 * factor, 1.0), ("left_knee", 300 * factor, 400 * factor, 1.0)]
        person = make_person(np.array([250, 50, 350, 450]) * factor, hips)
        row = changed(image, draw_people(image, [person]))[250 * factor, 280 * factor : 320 * factor]
        return row.sum()

    assert width(1) >= 3 and width(4) > 2 * width(1)


def test_a_drawing_looks_the_same_at_every_size():
    def drawing(side):
        factor = side / 640
        joints = [("left_hip", 300, 200), ("left_knee", 320, 300), ("right_hip", 250, 200), ("nose", 280, 90)]
        keypoints = [(name, x * factor, y * factor, 0.9) for name, x, y in joints]
        person = make_person(np.array([200, 50, 400, 450]) * factor, keypoints)
        picture = draw_people(grey(round(480 * factor), side), [person])
        return cv2.resize(picture, (160, 120), interpolation=cv2.INTER_AREA).astype(float)

    reference = drawing(640)
    ink = np.abs(reference - 128).mean()
    # Whole pixels of outlines and least sizes of letters make a difference, the more the smaller the image.
    for side, most in ((200, 1.6), (320, 0.5), (1280, 0.4), (4000, 0.5)):
        assert np.abs(drawing(side) - reference).mean() < most * ink


def test_wrong_images_are_errors():
    for image in (grey()[..., 0], grey().astype(np.float32)):
        with pytest.raises(ValueError, match="uint8"):
            draw_people(image, [])
