"""Query lists: each layout by hand, and mistakes named with file, query and image."""

import json

import numpy as np
import pytest
from PIL import Image

from raybench.catalog.dataset_info import Queries
from raybench.core.errors import DataError
from raybench.data.query_lists import read_copydays, read_json, read_landmarks

NAMES = [f"image_{i}" for i in range(8)]
GND = {
    "imlist": NAMES,
    "qimlist": ["query"],
    "gnd": [{"easy": [1, 4], "hard": [2], "junk": [7], "bbx": [0, 0, 2.6, 3]}],
}


def settings(**changes):
    return Queries(kind="listed", **changes)


@pytest.fixture
def draw(tmp_path):
    """Draw an image at each path below the folder, no two alike."""

    def _draw(*paths):
        for path in paths:
            file = tmp_path / path
            file.parent.mkdir(parents=True, exist_ok=True)
            seed = list(path.encode())
            pixels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(file)
        return tmp_path

    return _draw


@pytest.fixture
def revisited(draw):
    """Write a ground truth beside its nine images."""

    def _write(content=GND, **changes):
        folder = draw(*(f"jpg/{name}.png" for name in [*NAMES, "query"]))
        text = content if isinstance(content, str) else json.dumps({**content, **changes})
        (folder / "gnd.json").write_text(text)
        return folder

    return _write


@pytest.mark.parametrize(
    ("difficulty", "positives", "junk"),
    [("easy", [1, 4], [2, 7]), ("medium", [1, 2, 4], [7]), ("hard", [2], [1, 4, 7])],
)
def test_difficulties_choose_positives_and_junk_as_in_revisitop(revisited, difficulty, positives, junk):
    listing = read_json(revisited(), settings(difficulty=difficulty))
    assert listing.truth.positives(0).tolist() == positives
    assert listing.truth.junk(0).tolist() == junk
    assert listing.gallery == tuple(f"jpg/{name}.png" for name in NAMES)
    assert listing.queries == ("jpg/query.png",)


def test_positives_may_be_listed_by_name_and_without_grades(revisited):
    folder = revisited(gnd=[{"ok": ["image_3", 0], "junk": ["image_1"]}])
    truth = read_json(folder, settings()).truth
    assert (truth.positives(0).tolist(), truth.junk(0).tolist()) == ([0, 3], [1])
    with pytest.raises(DataError, match=r"without grades, so there is no 'hard'; leave `difficulty` out"):
        read_json(folder, settings(difficulty="hard"))


def test_boxes_are_read_only_if_queries_are_cropped(revisited):
    folder = revisited()
    assert read_json(folder, settings()).boxes == (None,)
    assert read_json(folder, settings(crop=True)).boxes == ((0.0, 0.0, 2.6, 3.0),)


def test_a_query_that_is_in_the_gallery_is_junk_of_its_own(revisited):
    own = {"imlist": [*NAMES, "query.png"]}
    assert read_json(revisited(**own), settings()).truth.junk(0).tolist() == [7, 8]
    truth = read_json(revisited(**own, gnd=[{"ok": [0, 8]}]), settings()).truth
    assert (truth.positives(0).tolist(), truth.junk(0).tolist()) == ([0, 8], [])


def test_a_query_without_positives_is_no_error(revisited):
    folder = revisited(gnd=[{"easy": [], "hard": [], "junk": []}])
    assert read_json(folder, settings()).truth.positives(0).tolist() == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gnd": []}, "has 1 queries in 'qimlist' but 0 in 'gnd'"),
        ({"gnd": [{"easy": [8], "hard": []}]}, r"query 'query': 'easy' names 8, .* position in \[0, 8\)"),
        ({"gnd": [{"easy": [], "hard": [-1]}]}, "'hard' names -1"),
        ({"gnd": [{"ok": ["image_9"]}]}, "'ok' names 'image_9', which is neither an image of the gallery"),
        ({"gnd": [{"ok": [True]}]}, "'ok' names True"),
        ({"gnd": [{"ok": 3}]}, "'ok' must be a list of gallery positions or names, got 3"),
        ({"gnd": [{"hard": [1]}]}, "needs the lists 'easy' and 'hard', or 'ok'; got {'hard'"),
        ({"gnd": [[1]]}, r"needs the lists 'easy' and 'hard', or 'ok'; got \[1\]"),
        ({"gnd": [{"ok": [1, 2], "junk": [2]}]}, "image 'image_2' is both positive and junk"),
        ({"imlist": [*NAMES, "image_0"]}, "lists 'image_0' twice in 'imlist'"),
        ({"imlist": [*NAMES, "image_0.png"]}, "lists 'image_0.png' twice in 'imlist'"),
        ({"imlist": None}, "must be a mapping with the lists 'imlist', 'qimlist' and 'gnd'"),
        ({"qimlist": ["qery"]}, "'qimlist': there is no image 'qery' below .*; did you mean 'query'"),
    ],
)
def test_mistakes_in_the_ground_truth_are_named_with_their_query(revisited, changes, message):
    with pytest.raises(DataError, match=message):
        read_json(revisited(**changes), settings())


@pytest.mark.parametrize(
    "box", [[0, 0, 1], [2, 0, 1, 1], "0 0 1 1", [0, 0, float("inf"), 1], [0, 0, 10**400, 1]]
)
def test_an_invalid_box_is_refused(revisited, box):
    folder = revisited(gnd=[{"ok": [1], "bbx": box}])
    with pytest.raises(DataError, match=r"query 'query': 'bbx' must be \[left, top, right, bottom\]"):
        read_json(folder, settings(crop=True))


def test_a_pickle_is_refused_without_opening_it_and_with_the_way_to_convert_it(revisited):
    folder = revisited()
    (folder / "gnd.pkl").write_bytes(b"\x80\x04cos\nsystem\n.")
    with pytest.raises(DataError, match=r"convert it once: `g = pickle.load"):
        read_json(folder, settings(file="gnd.pkl"))


def test_the_positive_of_a_copy_is_the_original_with_the_same_first_four_digits(draw):
    folder = draw("original/200000.jpg", "original/200100.jpg", "strong/200101.jpg", "strong/200002.jpg")
    listing = read_copydays(folder, settings(layout="copydays"))
    assert listing.queries == ("strong/200002.jpg", "strong/200101.jpg")
    assert [listing.truth.positives(query).tolist() for query in range(2)] == [[0], [1]]
    assert listing.gallery == ("original/200000.jpg", "original/200100.jpg")


def test_copydays_without_an_original_or_a_folder_is_refused(draw):
    folder = draw("original/200000.jpg")
    with pytest.raises(DataError, match=r"no image in .*strong.*; put Copydays' strong ones there"):
        read_copydays(folder, settings())
    draw("strong/200100.jpg")
    with pytest.raises(DataError, match=r"200100.jpg' has no original"):
        read_copydays(folder, settings())


def landmarks(draw, solution):
    folder = draw("index/a/b/c/abc1.jpg", "index/a/b/d/abd1.jpg", "test/1/2/3/123.jpg", "test/4/5/6/456.jpg")
    (folder / "solution.csv").write_text(solution)
    return read_landmarks(folder, settings(layout="landmarks", file="solution.csv"))


def test_public_landmark_queries_are_vals_and_ignored_ones_are_left_out(draw):
    listing = landmarks(draw, "id,images,Usage\n123,abd1 abc1,Public\n456,abc1,Private\n789,None,Ignored\n")
    assert listing.queries == ("test/1/2/3/123.jpg", "test/4/5/6/456.jpg")
    assert [listing.truth.positives(query).tolist() for query in range(2)] == [[0, 1], [0]]
    assert listing.val is not None
    assert listing.val.tolist() == [0]


@pytest.mark.parametrize("blank", ["\n", "  \n", ",,\n", "\t,\n"])
def test_blank_lines_of_a_landmark_solution_mean_nothing(draw, blank):
    listing = landmarks(draw, f"id,images,Usage\n123,abd1,Public\n{blank}456,abc1,Private\n{blank}")
    assert listing.queries == ("test/1/2/3/123.jpg", "test/4/5/6/456.jpg")


def test_an_incomplete_landmark_solution_is_refused(draw):
    with pytest.raises(DataError, match=r"query '123': 'images' names 'zzz', which is neither an image of"):
        landmarks(draw, "id,images,Usage\n123,zzz,Public\n")
    with pytest.raises(DataError, match=r"solution.csv', line 3: the line ends before it has an id"):
        landmarks(draw, "id,images,Usage\n123,abc1,Public\n456,abc1\n")
    with pytest.raises(DataError, match=r"is not the retrieval solution with columns id, images and Usage"):
        landmarks(draw, "name\n123\n")
