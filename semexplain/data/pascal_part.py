"""Pascal-Part, animals with segmented parts (Sec. 4.1), from a local copy of VOC 2010 and the part annotations."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Interval
from PIL import Image

from semexplain.data.images import Split
from semexplain.data.module import ImageDataModule
from semexplain.data.pascal_annotations import (
    BACK_TO_FRONT,
    CATEGORIES,
    HELP,
    PARTS,
    Category,
    box_area,
    read_annotation,
)
from semexplain.data.pascal_objects import Objects, annotated_objects, boxed_objects
from semexplain.data.pascal_views import (
    ICNN_NEGATIVES,
    ICNN_OBJECTS,
    Instance,
    View,
    gather,
    share_of_photos,
    shuffle,
    slot_repeats,
    training_positions,
)
from semexplain.data.text_files import fields_of_lines, first_few, require_plain_name, require_present, require_unique
from semexplain.system.image_files import is_turned, photo_size
from semexplain.system.trouble import Trouble

IMAGES = "JPEGImages"
SMALLEST_AREA = 50 * 50  # pixels of an object's box

logger = logging.getLogger(__name__)


class PascalPartDataModule(ImageDataModule):
    """Crops of one animal against images without it; the label ``(1,)`` says whether an image shows the animal.

    An object takes part if its box has at least 50 x 50 pixels. It is cut out along the box and resized. Objects come
    from the part annotations; for photos without them, from ``object_boxes``.

    Negatives are the photos in a folder. Where there is none, crops of the other five animals stand in (from photos
    without the animal), and the log says so.

    ``split="icnn"`` repeats the protocol behind the paper's accuracies. Its objects are those of VOC *val* in the part
    annotations, as many as :data:`ICNN_OBJECTS` in the full data. Each and its mirror image take turns until there are
    3000 images; the negatives are at most 1000. Nine tenths of both, evenly spread, train. The rest is ``val`` and
    ``test`` alike, as in the paper. Objects of one photo may fall on both sides.

    ``split="voc"`` trains on VOC *train* and tests on VOC *val*: every object once, with all negatives there are for
    training and at most two for each positive to test on. ``val`` is a tenth of the training photos. No photo is in two
    splits.

    All choices are the same for every ``seed``: runs can be compared, and what a performer was tested on stays unseen.
    The images of a split are shuffled, with both classes among the first few.

    Args:
        root: Folder with ``JPEGImages/``, ``ImageSets/Main/train.txt`` and ``val.txt``, and the annotations.
        category: The animal.
        split: Which objects train and which test, see above.
        annotations: Folder under ``root`` with the part annotations, ``<photo>.mat``.
        negatives: Folder of photos without the animal, under ``root`` or anywhere. By default ``negatives`` if that is
            there, or else the stand-ins.
        object_boxes: JSON file under ``root`` with boxes of objects, ``{"objects": [{"image", "cls", "bbox"}]}``, in
            pixels counted from 1 of which the last is inside. It is used if it is there.
        naming_share: Share of the test photos with part masks that is set aside for naming filters, and not tested on,
            if no training photo has part masks.
        index: Folder for summaries of the annotations, which take minutes to read; by default they are read each time.
        **kwargs: What every :class:`ImageDataModule` takes: sizes, workers, seed, cache.

    Attributes:
        parts: The animal's coarse parts, see :data:`PARTS`.
        naming: After ``setup``, the objects with part masks by which filters may be named, not mirrored: those that
            train, or those set aside.

    Raises:
        ValueError: If images of ``split="icnn"``, which are mirrored already, are to be mirrored at random.
    """

    def __init__(
        self,
        *,
        root: str,
        category: Category,
        split: Literal["icnn", "voc"] = "icnn",
        annotations: str = "Annotations_Part",
        negatives: str | None = None,
        object_boxes: str | None = "extra/animal_pose.json",
        naming_share: Annotated[float, Interval(gt=0, lt=1)] = 0.25,
        index: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if self.flip_train and split == "icnn":
            raise Trouble(
                "The split `icnn` holds the mirror image of every object already: set `performer_training.flip=false` "
                "or use `data.split=voc`."
            )
        self.root = Path(root).expanduser()
        self.category = category
        self.split = split
        self.annotations = annotations
        self.negatives = negatives
        self.object_boxes = object_boxes
        self.naming_share = naming_share
        self.index = None if index is None else Path(index).expanduser()
        self.names = (category,)
        self.parts = tuple(PARTS[category])
        self.naming = gather([])

    def setup(self, stage: str | None = None) -> None:
        """Read the splits; calling it again changes nothing.

        Raises:
            ValueError: If a split is missing or empty, or ids, files and labels do not match.
        """
        if not self.splits:
            super().setup(stage)
            self.naming = self.naming.first(self.limit)

    def read(self) -> dict[str, Split]:
        """Find the objects and the negatives, and divide them.

        Raises:
            FileNotFoundError: If a folder, a list or an image is missing.
            ValueError: If a file is not as expected, or there is nothing to train or to test on.
        """
        if not self.root.is_dir():
            raise FileNotFoundError(
                f"Expected the folder of Pascal-Part at {self.root.absolute()} (`data.root`). {HELP}"
            )
        for folder, what in ((self.annotations, "part annotations (`data.annotations`)"), (IMAGES, "photos")):
            if not (self.root / folder).is_dir():
                raise FileNotFoundError(f"Expected the {what} in {self.root / folder}. {HELP}")

        lists = self._lists()
        objects = self._annotated([photo for photos in lists.values() for photo in photos])
        boxes = boxed_objects(self.root / (self.object_boxes or ""))
        cases = {
            side: [item for photo in photos for item in objects.get(photo, boxes.get(photo, []))]
            for side, photos in lists.items()
        }
        hosts = {item.photo for items in (*objects.values(), *boxes.values()) for item in items if self._is_own(item)}
        large = {side: [item for item in items if box_area(item.box) >= SMALLEST_AREA] for side, items in cases.items()}
        boxes_only = sum(item.parts is None for items in large.values() for item in items)
        if boxes_only:
            source = self.root / str(self.object_boxes)
            logger.info(
                "%d objects are on photos without part annotations; their boxes come from %s.", boxes_only, source
            )
        positives = {side: [self._crop(item) for item in items if self._is_own(item)] for side, items in large.items()}
        others = {  # a crop of another animal could show this one as well
            side: [self._crop(item) for item in items if item.name in CATEGORIES and item.photo not in hosts]
            for side, items in large.items()
        }
        splits = self._icnn(positives, others) if self.split == "icnn" else self._voc(positives, others)

        self._check_photos([view for views in splits.values() for view in views])
        return {name: gather(views) for name, views in splits.items()}

    def part_map(self, split: Split, index: int) -> np.ndarray:
        """Which part is seen at each pixel of an image, by exactly the geometry of :meth:`Split.read`.

        Masks of parts overlap, as an eye lies in the head; the more special part wins, so that the parts are disjoint.

        Args:
            split: ``naming`` or one of ``splits``.
            index: Position of the image in the split.

        Returns:
            int16 ``(H, W)``: position in `parts`, or -1 where there is none.
        """
        photo, _, number = split.ids[index].removesuffix("/mirrored").rpartition("/")
        path = self._annotation(photo)
        height, width = self.framing.height, self.framing.width
        if not split.labels[index, 0] or split.boxes is None or not path.is_file():
            return np.full((height, width), -1, dtype=np.int16)
        left, top, right, bottom = split.boxes[index].tolist()
        masks = read_annotation(path)[int(number) - 1].parts
        canvas = np.zeros((bottom - top, right - left), dtype=np.uint8)  # 0: none
        for name in BACK_TO_FRONT:
            for leaf in PARTS[self.category].get(name, ()):
                if leaf in masks:
                    canvas[masks[leaf][top:bottom, left:right]] = self.parts.index(name) + 1
        pixels = np.array(Image.fromarray(canvas).resize((width, height), Image.Resampling.NEAREST))
        if split.mirrored is not None and split.mirrored[index]:
            pixels = pixels[:, ::-1]
        return pixels.astype(np.int16) - 1

    def _is_own(self, item: Instance) -> bool:
        return item.name == self.category

    def _annotation(self, photo: str) -> Path:
        return self.root / self.annotations / f"{photo}.mat"

    def _lists(self) -> dict[str, list[str]]:
        """Photos of VOC train and val."""
        lists = {}
        for side in ("train", "val"):
            path = self.root / "ImageSets" / "Main" / f"{side}.txt"
            if not path.is_file():
                raise FileNotFoundError(f"Expected the list of photos {path}. {HELP}")
            lists[side] = [require_plain_name(path, fields[0]) for _, fields in fields_of_lines(path, HELP)]
            require_unique(path, lists[side])
        overlap = sorted(set(lists["train"]) & set(lists["val"]))
        if overlap:
            raise Trouble(
                f"train.txt and val.txt in {path.parent} share {len(overlap)} photos: {first_few(overlap)}. "
                f"Keep each in one of them. {HELP}"
            )
        return lists

    def _annotated(self, photos: Iterable[str]) -> Objects:
        """Objects of the photos that have part annotations."""
        paths = {photo: self._annotation(photo) for photo in photos}
        return annotated_objects({photo: path for photo, path in paths.items() if path.is_file()}, self.index)

    def _crop(self, item: Instance) -> View:
        path = self.root / IMAGES / f"{item.photo}.jpg"
        is_own = self._is_own(item)
        return View(
            f"{item.photo}/{item.number}", item.photo, path, is_own, item.box, is_own and bool(item.parts), item.size
        )

    def _photos_without(self) -> list[View] | None:
        """Whole photos as negatives, shuffled; None: there is no folder of them."""
        folder = self.root / Path(self.negatives or "negatives").expanduser()
        if not folder.is_dir():
            if self.negatives is None:
                return None
            raise FileNotFoundError(
                f"Expected photos without the animal in {folder} (`data.negatives`). Without this setting, crops of "
                "other animals stand in."
            )
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
        if not paths:
            raise Trouble(
                f"{folder} holds no .jpg or .png. Put photos without the animal there, or remove the folder, so that "
                "crops of other animals stand in."
            )
        return shuffle([View(path.stem, str(path), path, False, (0, 0, 0, 0)) for path in paths])

    def _icnn(self, positives: dict[str, list[View]], others: dict[str, list[View]]) -> dict[str, list[View]]:
        objects = [view for view in positives["val"] if view.size is not None]
        photos = self._photos_without()
        if photos is None:
            logger.warning(
                "There is no folder of negative photos: crops of other animals stand in for the 1000 photos of the "
                "original protocol, and accuracies are not those of the paper's task."
            )
        negatives = (shuffle(others["val"]) if photos is None else photos)[:ICNN_NEGATIVES]
        self._require(objects, negatives, "val", least=2)
        logger.info(
            "%d objects of %s and %d negatives; the full data have %d and %d.",
            len(objects),
            self.category,
            len(negatives),
            ICNN_OBJECTS[self.category],
            ICNN_NEGATIVES,
        )

        splits: dict[str, list[View]] = {"train": [], "val": []}
        train_numbers = set(training_positions(len(objects)))
        times = slot_repeats(len(objects))
        for number, view in enumerate(objects):
            for side in (False, True):
                name = view.id + ("/mirrored" if side else "")
                copy = view._replace(id=name, mirrored=side, repeats=times[2 * number + side], group=number)
                splits["train" if number in train_numbers else "val"] += [copy] if copy.repeats else []
        train_numbers = set(training_positions(len(negatives)))
        for number, view in enumerate(negatives):
            splits["train" if number in train_numbers else "val"].append(view._replace(group=len(objects) + number))
        self.naming = gather([view for view in splits["train"] if view.parts and not view.mirrored])
        return splits | {"test": splits["val"]}

    def _voc(self, positives: dict[str, list[View]], others: dict[str, list[View]]) -> dict[str, list[View]]:
        photos = self._photos_without()
        if photos is None:
            logger.info("There is no folder of negative photos: the negatives are crops of other animals.")
            candidates = {side: shuffle(views) for side, views in others.items()}
        else:
            border = (3 * len(photos) + 2) // 4
            candidates = {"train": photos[:border], "val": photos[border:]}
        sides = {}
        for side, crops in positives.items():
            negatives = candidates[side][: 2 * len(crops)] if side == "val" else candidates[side]
            self._require(crops, negatives, side)
            sides[side] = [view._replace(group=number) for number, view in enumerate(crops + negatives)]

        held_out = {
            photo
            for label in (True, False)
            for photo in share_of_photos((v.photo for v in sides["train"] if v.label == label), 0.1)
        }
        train = [view for view in sides["train"] if view.photo not in held_out]
        val = [view for view in sides["train"] if view.photo in held_out]
        test = sides["val"]
        naming = [view for view in train if view.parts]
        if not naming:
            aside = share_of_photos((view.photo for view in test if view.parts), self.naming_share)
            naming = [view for view in test if view.parts and view.photo in aside]
            test = [view for view in test if view.photo not in aside]
            logger.info(
                "No training photo has part masks: %d objects of %d test photos are set aside for naming filters and "
                "not tested on (`data.naming_share`).",
                len(naming),
                len(aside),
            )
        self.naming = gather(naming)
        return {"train": train, "val": val, "test": test}

    def _require(self, positives: Sequence[View], negatives: Sequence[View], side: str, least: int = 1) -> None:
        if len(positives) < least:
            raise Trouble(
                f"Expected objects of the category {self.category} with a box of at least {SMALLEST_AREA} pixels on "
                f"photos of {side}.txt, at least {least}, found {len(positives)}. Use another `data.category`, or "
                f"complete {self.root / self.annotations}. {HELP}"
            )
        if not negatives:
            raise Trouble(
                f"Expected negatives beside the photos of {side}.txt, found neither enough photos in a folder nor "
                f"crops of other animals. Name a folder of photos without the animal in `data.negatives`. {HELP}"
            )

    def _check_photos(self, views: Sequence[View]) -> None:
        """Whether every crop's photo is there, as it was when its parts or boxes were annotated."""
        crops = {view.path: view for view in views if view.path.parent == self.root / IMAGES}
        require_present(
            [path.name for path in crops],
            self.root / IMAGES,
            source=f"{self.root / 'ImageSets' / 'Main'} that are needed",
            remedy=f"Copy them there, or shorten the lists. {HELP}",
        )
        sizes = {path: photo_size(path) for path in crops}
        for path, view in crops.items():
            height, width = sizes[path]
            if view.size not in (None, (height, width)):
                raise Trouble(
                    f"The masks of {self._annotation(path.stem)} are {view.size[0]} high and {view.size[1]} wide, but "
                    f"{path} is {height} high and {width} wide. Take both from VOC 2010 unchanged. {HELP}"
                )
            if is_turned(path):
                raise Trouble(
                    f"{path} has a tag that turns it, so that its boxes do not fit. Take it from VOC 2010 unchanged, "
                    f"or remove the tag (orientation). {HELP}"
                )
        for view in views:
            height, width = sizes.get(view.path, (0, 0))
            if view.size is None and view.path in crops and (view.box[2] > width or view.box[3] > height):
                raise Trouble(
                    f"{self.root / str(self.object_boxes)} has the box {view.box} (left, top, right, bottom) of "
                    f"{view.id}, but {view.path} is {width} wide and {height} high. Mend it, or set "
                    "`data.object_boxes=null`."
                )
