import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from raybench.data.shape_outlines import OUTLINES
from raybench.data.shape_scenes import CLASS_NAMES, MAX_OBJECTS, MIN_VISIBLE, NUM_IDENTITIES, Scenes, generate


@pytest.fixture(scope="module")
def scenes() -> Scenes:
    return generate(seed=3, num_images=400)


def test_the_same_seed_draws_the_same_scenes(scenes: Scenes) -> None:
    again = generate(seed=3, num_images=400)
    assert np.array_equal(scenes.images, again.images)
    assert np.array_equal(scenes.boxes, again.boxes)
    assert np.array_equal(scenes.identities, again.identities)


def test_a_longer_set_begins_with_the_shorter_one(scenes: Scenes) -> None:
    shorter = generate(seed=3, num_images=260)
    assert np.array_equal(shorter.images, scenes.images[:260])
    assert np.array_equal(shorter.instance_map, scenes.instance_map[:260])


def test_another_seed_draws_other_images(scenes: Scenes) -> None:
    other = generate(seed=4, num_images=400)
    assert not {image.tobytes() for image in scenes.images} & {image.tobytes() for image in other.images}


def test_shapes_and_types_are_as_documented(scenes: Scenes) -> None:
    assert (scenes.images.shape, scenes.images.dtype) == ((400, 32, 32, 3), np.uint8)
    assert (scenes.labels.shape, scenes.labels.dtype) == ((400,), np.int64)
    assert (scenes.boxes.shape, scenes.boxes.dtype) == ((400, MAX_OBJECTS, 4), np.float32)
    assert scenes.masks.shape == (400, MAX_OBJECTS, 32, 32)
    assert generate(seed=0, num_images=1, size=64).images.shape == (1, 64, 64, 3)


def test_every_class_is_the_label_of_about_as_many_images(scenes: Scenes) -> None:
    counts = np.bincount(scenes.labels, minlength=len(CLASS_NAMES))
    assert len(counts) == len(CLASS_NAMES) == 10
    assert counts.min() > 20


def test_every_image_holds_its_main_object_and_most_hold_several(scenes: Scenes) -> None:
    assert scenes.is_present[:, 0].all()
    assert np.array_equal(scenes.labels, scenes.object_labels[:, 0])
    assert (scenes.is_present.sum(axis=1) >= 2).mean() > 0.8


def test_the_main_object_is_larger_than_the_others_and_nearer_the_centre(scenes: Scenes) -> None:
    sides = scenes.boxes[..., 2:] - scenes.boxes[..., :2]
    longest = sides.max(axis=2)
    assert (longest[:, :1] >= longest[:, 1:]).all()
    centres = (scenes.boxes[..., 2:] + scenes.boxes[..., :2]) / 2
    off_centre = np.linalg.norm(centres - 16, axis=2)
    assert off_centre[:, 0].mean() < off_centre[:, 1:][scenes.is_present[:, 1:]].mean() / 2


def test_boxes_enclose_masks_tightly(scenes: Scenes) -> None:
    for i, j in np.argwhere(scenes.is_present)[::7]:
        rows, columns = np.nonzero(scenes.masks[i, j])
        expected = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert scenes.boxes[i, j].tolist() == expected


def test_absent_objects_have_no_class_no_identity_no_box_and_no_mask(scenes: Scenes) -> None:
    absent = ~scenes.is_present
    assert absent.any()
    assert (scenes.object_labels[absent] == -1).all()
    assert (scenes.identities[absent] == -1).all()
    assert not scenes.boxes[absent].any()
    assert not scenes.masks[absent].any()


def test_masks_never_overlap_and_every_object_can_be_seen(scenes: Scenes) -> None:
    assert scenes.masks.sum(axis=1).max() == 1
    assert scenes.masks.sum(axis=(2, 3))[scenes.is_present].min() >= MIN_VISIBLE


def test_an_identity_is_always_of_the_same_class(scenes: Scenes) -> None:
    present = scenes.is_present
    assert np.array_equal(scenes.identities[present] % len(CLASS_NAMES), scenes.object_labels[present])
    assert scenes.identities.max() < NUM_IDENTITIES


def test_images_of_one_identity_are_more_alike_in_colour_than_images_of_two() -> None:
    scenes = generate(seed=5, num_images=500)
    main = scenes.masks[:, 0, :, :, None]
    colour = (scenes.images * main).sum(axis=(1, 2)) / main.sum(axis=(1, 2))
    distance = np.linalg.norm(colour[:, None] - colour[None], axis=2)
    same = scenes.identities[:, 0, None] == scenes.identities[None, :, 0]
    assert distance[same & ~np.eye(500, dtype=bool)].mean() < distance[~same].mean() / 2


def test_outlines_are_anti_aliased() -> None:
    """A pixel that an outline cuts is between object and background, so greys between the two occur."""
    u, v = np.meshgrid(*[(np.arange(32) - 15.5) / 12] * 2)
    coverage = np.clip(0.5 - OUTLINES["disc"](u[None], v[None]) * 12, 0, 1)
    partial = (coverage > 0) & (coverage < 1)
    assert 60 < partial.sum() < 120  # The circumference is 75 pixels long.
    assert coverage.sum() == pytest.approx(np.pi * 12**2, rel=0.005)


@pytest.mark.parametrize("name", CLASS_NAMES)
def test_every_outline_is_inside_at_some_point_and_outside_beyond_its_radius(name: str) -> None:
    u, v = np.meshgrid(*[np.linspace(-2, 2, 201)] * 2)
    distance = OUTLINES[name](u[None], v[None])[0]
    assert distance.min() < -0.2
    assert (distance[np.hypot(u, v) > 1.2] > 0).all()
    inside = (distance < 0).mean() * 16
    assert 0.5 < inside < 3.2  # Areas in squared radii: none is a sliver, none exceeds the disc.


def test_classes_are_learnable_from_masks_but_not_trivial_from_pixels() -> None:
    scenes = generate(seed=6, num_images=1200)
    fit, read = slice(0, 900), slice(900, None)

    def accuracy(features: np.ndarray) -> float:
        flat = features.reshape(len(features), -1)[:, ::3].astype(float)
        flat = (flat - flat.mean(axis=0)) / (flat.std(axis=0) + 1e-3)
        model = LogisticRegression(C=1e-3, tol=1e-2, max_iter=300).fit(flat[fit], scenes.labels[fit])
        return float(model.score(flat[read], scenes.labels[read]))

    from_masks, from_pixels = accuracy(scenes.masks[:, 0]), accuracy(scenes.images)
    assert from_masks > 0.4  # 0.50 when written; chance 0.1.
    assert 0.12 < from_pixels < from_masks


@pytest.mark.parametrize(("num_images", "size"), [(0, 32), (1, 8)])
def test_too_few_or_too_small_images_are_refused(num_images: int, size: int) -> None:
    with pytest.raises(ValueError, match=f"got {num_images} and {size}"):
        generate(seed=0, num_images=num_images, size=size)
