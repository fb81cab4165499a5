"""Tables of attributes and partitions, lists of photos, files of names: text that is not as it should be."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from malformed.case import Malformed
from malformed.images import file
from semexplain.concepts.parts import read_parts
from semexplain.data.celeba import CelebADataModule, read_attributes, read_partition
from semexplain.report.own_images import image_files

TABLE = "2\nSmiling Young\na.jpg 1 -1\nb.jpg -1 1\n"
LABELS = np.array([[True, False], [False, True]])
PARTITION = {"a.jpg": 0, "b.jpg": 1}


def labels(path: Path) -> np.ndarray:
    return read_attributes(path)[1]


def bomb(levels: int) -> str:
    """A YAML file whose aliases stand for ten to the power of some levels entries."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, levels)]
    return "\n".join(lines) + "\n"


ATTRIBUTES: list[tuple[str, str, str | bytes, Any]] = [
    ("as it should be", "a.txt", TABLE, LABELS),
    ("with a byte order mark", "a.txt", "\ufeff" + TABLE, LABELS),
    ("of Windows", "a.txt", TABLE.replace("\n", "\r\n"), LABELS),
    ("with blank lines and spaces", "a.txt", "\n" + TABLE.replace(" ", "   ") + "\n\n", LABELS),
    ("without a last newline", "a.txt", TABLE[:-1], LABELS),
    ("as csv", "a.csv", "image_id,Smiling,Young\na.jpg,1,-1\nb.jpg,-1,1\n", LABELS),
    ("as csv with 0 and 1, and quotes", "a.csv", 'image_id,Smiling,Young\n"a.jpg", 1,0\nb.jpg,0,"1"\n', LABELS),
    ("in UTF-16", "a.txt", TABLE.encode("utf-16"), "no text in UTF-8 .byte 0xff."),
    ("in UTF-16 without a mark", "a.txt", TABLE.encode("utf-16-le"), "line 1 has null bytes"),
    ("in Latin-1", "a.txt", TABLE.replace("a.jpg", "é.jpg").encode("latin-1"), "no text in UTF-8"),
    ("with null bytes", "a.txt", TABLE.replace("b.jpg", "b\0jpg"), "line 4 has null bytes"),
    ("as csv with null bytes", "a.csv", "image_id,A,B\na\0.jpg,1,1\n", "line 2 has null bytes"),
    ("empty", "a.txt", "", "is empty"),
    ("of one byte", "a.txt", "\n", "line 1: expected the number of images, got ''"),
    ("with a line of a million characters", "a.txt", TABLE + "x" * 10**6, "line 5 has more than 100,000 characters"),
    (
        "with a csv field of 140,000 characters",
        "a.csv",
        "image_id,A,B\n" + ("x" * 70_000 + "\n") * 2,
        "expected an image",
    ),
    ("with a quote that never closes", "a.csv", 'image_id,A,B\na,1,"' + ("x" * 70_000 + "\n") * 3, "field larger than"),
    ("with a lone quote", "a.csv", 'image_id,A,B\na.jpg,1,"1\n', "line 2: unexpected end of data"),
    ("that is a picture", "a.txt", b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "no text in UTF-8"),
    (
        "that is a page",
        "a.txt",
        "<!DOCTYPE html>\n<html>quota</html>\n",
        "expected the number of images, got '<!DOCTYPE html>'",
    ),
    ("that is a pointer", "a.txt", "version https://git-lfs.github.com/spec/v1\n", "expected the number of images"),
    ("without a count", "a.txt", "Smiling Young\na.jpg 1 1\n", "line 1: expected the number of images"),
    ("with a wrong count", "a.txt", TABLE.replace("2", "3", 1), "announces 3 images .* lists 2"),
    ("with a huge count", "a.txt", "9" * 99 + TABLE[1:], "announces 9+ images"),
    ("with a negative count", "a.txt", "-2" + TABLE[1:], "expected the number of images, got '-2'"),
    ("that was cut", "a.txt", TABLE[:-4], "line 4: expected an image and 2 values, got 1 values"),
    ("with a value too many", "a.txt", TABLE.replace("-1\n", "-1 1\n", 1), "line 3: .* got 3 values"),
    ("with a value 2", "a.txt", TABLE.replace("-1 1", "2 1"), "attributes must be -1 or 1, got 2"),
    ("with 0", "a.txt", TABLE.replace("-1 1", "0 1"), "attributes must be -1 or 1, got 0"),
    ("with +1", "a.txt", TABLE.replace("-1 1", "-1 +1"), "got \\+1"),
    ("with nan", "a.txt", TABLE.replace("-1 1", "nan 1"), "got nan"),
    ("with other digits", "a.txt", TABLE.replace("-1 1", "-1 \u0661"), "got \u0661"),
    ("with both codings", "a.csv", "image_id,A,B\na.jpg,-1,1\nb.jpg,0,1\n", "uses both -1 and 0"),
    ("with an image twice", "a.txt", TABLE.replace("b.jpg", "a.jpg"), "lists 1 images more than once: a.jpg"),
    ("with an attribute twice", "a.txt", TABLE.replace("Young", "Smiling"), "each once; repeated: Smiling"),
    ("with one attribute", "a.txt", "1\nSmiling\na.jpg 1\n", "at least two attributes, each once; got Smiling"),
    ("with names only", "a.txt", "0\nSmiling Young\n", "lists no images"),
    ("as csv without header", "a.csv", "a.jpg,1,1\n", "expected a header that begins with `image_id`"),
    ("as csv with semicolons", "a.csv", "image_id;A;B\na.jpg;1;1\n", "expected a header that begins with `image_id`"),
    ("as csv with nothing else", "a.csv", "image_id,A,B\n", "lists no images"),
]
PARTITIONS: list[tuple[str, str, str | bytes, Any]] = [
    ("as it should be", "p.txt", "a.jpg 0\nb.jpg 1\n", PARTITION),
    ("as csv of Windows", "p.csv", "image_id,partition\r\na.jpg,0\r\nb.jpg,1\r\n", PARTITION),
    ("with a part 3", "p.txt", "a.jpg 3\n", "must be 0 .train., 1 .val. or 2 .test., got '3'"),
    ("with a word", "p.txt", "a.jpg train\n", "got 'train'"),
    ("with a fraction", "p.txt", "a.jpg 0.0\n", "got '0.0'"),
    ("without parts", "p.txt", "a.jpg\n", "expected an image and its part, got 1 fields"),
    ("with a field too many", "p.txt", "a b.jpg 0\n", "got 3 fields"),
    ("with an image twice", "p.txt", "a.jpg 0\na.jpg 1\n", "lists 1 images more than once"),
    ("with blank lines only", "p.txt", "\n\n", "lists no images"),
    ("in UTF-16", "p.txt", "a.jpg 0\n".encode("utf-16"), "no text in UTF-8"),
    ("with null bytes", "p.txt", bytes(90), "line 1 has null bytes"),
]


def celeba(partition: str, images: tuple[str, ...] = ("a.jpg", "b.jpg", "c.jpg")) -> Callable[[Path], Path]:
    """A folder in CelebA's layout."""

    def make(folder: Path) -> Path:
        (folder / "img_align_celeba").mkdir()
        for name in images:
            Image.new("RGB", (8, 8)).save(folder / "img_align_celeba" / name)
        names = sorted({line.split()[0] for line in partition.splitlines()})
        rows = "".join(f"{name} 1 -1\n" for name in names)
        (folder / "list_attr_celeba.txt").write_text(f"{len(names)}\nSmiling Young\n{rows}")
        (folder / "list_eval_partition.txt").write_text(partition)
        return folder

    return make


def splits(root: Path) -> dict[str, tuple[str, ...]]:
    return {name: split.ids for name, split in CelebADataModule(root=str(root)).read().items()}


def with_pipe(folder: Path) -> Path:
    celeba("a.jpg 0\nb.jpg 1\nc.jpg 2\n", ("a.jpg", "b.jpg"))(folder)
    os.mkfifo(folder / "img_align_celeba/c.jpg")
    return folder


def linked(folder: Path) -> Path:
    (folder / "real").mkdir()
    celeba("a.jpg 0\nb.jpg 1\nc.jpg 2\n")(folder / "real")
    (folder / "root").symlink_to("real")
    return folder / "root"


WHOLE = "a.jpg 0\nb.jpg 1\nc.jpg 2\n"
IDS = {"train": ("a.jpg",), "val": ("b.jpg",), "test": ("c.jpg",)}
FOLDERS = [
    Malformed("faces, whole", celeba(WHOLE), splits, IDS),
    Malformed("faces behind a link", linked, splits, IDS),
    Malformed("faces, one missing", celeba(WHOLE, ("a.jpg", "b.jpg")), splits, "1 of the 3 images .* c.jpg"),
    Malformed("faces, one a pipe", with_pipe, splits, "1 of the 3 images .* are not in .*: c.jpg"),
    Malformed("faces, one outside", celeba(WHOLE + "../../secret.jpg 0\n"), splits, "are not in .*secret.jpg"),
    Malformed("faces, one at the root", celeba(WHOLE + "/etc/hostname 0\n"), splits, "are not in .*: /etc/hostname"),
    Malformed("faces, an empty split", celeba("a.jpg 0\nb.jpg 1\n"), splits, "The split 'test' is empty"),
    Malformed("faces, nowhere", lambda folder: folder / "gone", splits, "Expected the folder of CelebA at"),
    Malformed("faces, no images", lambda folder: folder, splits, "Expected the aligned images in|Expected the file"),
]

PERFORMER = {"category": "dog", "sha256": "ab12", "layer": "conv6", "n": 3}
HEAD = "performer: {category: dog, sha256: ab12, layer: conv6, n: 3}\nparts: [eye, leg]\n"
NAMES: list[tuple[str, str | bytes, Any]] = [
    ("as it should be", HEAD + "assignment: {0: eye, 2: none}\n", (0, -2, -1)),
    ("manual: 5", HEAD + "assignment: {0: eye}\nmanual: 5\n", "`manual` must be a list of filters, got 5"),
    ("manual: yes", HEAD + "assignment: {0: eye}\nmanual: yes\n", "`manual` must be a list of filters, got True"),
    ("manual: {}", HEAD + "assignment: {0: eye}\nmanual: {1: 2}\n", "`manual` must be a list of filters"),
    ("manual: [a]", HEAD + "assignment: {0: eye}\nmanual: [a]\n", "names the filter 'a' under `manual`"),
    ("manual: [3]", HEAD + "assignment: {0: eye}\nmanual: [3]\n", "names the filter 3 under `manual`"),
    ("a filter too many", HEAD + "assignment: {3: eye}\n", "the filters are 0 to 2"),
    ("a filter below 0", HEAD + "assignment: {-1: eye}\n", "names the filter -1"),
    ("a fraction of a filter", HEAD + "assignment: {0.5: eye}\n", "names the filter 0.5"),
    ("a part that is none of them", HEAD + "assignment: {0: wing}\n", "the part 'wing'; the parts are eye, leg"),
    ("a part that is a number", HEAD + "assignment: {0: 1}\n", "gives filter 0 the part 1"),
    ("a part that is a list", HEAD + "assignment: {0: [eye]}\n", "gives filter 0 the part"),
    ("parts: 5", HEAD.replace("[eye, leg]", "5") + "assignment: {}\n", "parts is 5"),
    ("parts twice", HEAD.replace("leg", "eye") + "assignment: {}\n", "each once"),
    ("parts that are none", HEAD.replace("leg", "null") + "assignment: {}\n", "`parts` must be names"),
    ("assignment: 5", HEAD + "assignment: 5\n", "assignment is 5"),
    ("no assignment", HEAD, "assignment is None"),
    (
        "another performer",
        HEAD.replace("ab12", "cd34") + "assignment: {}\n",
        "of another performer: its sha256 is 'cd34'",
    ),
    ("performer: 5", "performer: 5\nparts: [eye]\nassignment: {}\n", "performer is 5"),
    ("a list", "- 1\n- 2\n", "must have `performer` and `parts`"),
    ("a number", "5\n", "must have `performer`"),
    ("empty", "", "must have `performer`"),
    ("no YAML", HEAD + "assignment: {0: eye\n", "is not YAML"),
    ("a tab", HEAD + "assignment:\n\t0: eye\n", "is not YAML"),
    ("null bytes", HEAD + "\0", "is not YAML"),
    ("UTF-16", HEAD.encode("utf-16"), "is not UTF-8 text"),
    ("code", "!!python/object/apply:os.system ['touch pwned']\n", "is not YAML"),
    ("two documents", f"{HEAD}---\n{HEAD}", "is not YAML"),
    ("deep", "[" * 3000, "is not YAML"),
    ("a bomb", bomb(9) + "performer: *a8\n", "it has anchors"),
    ("a bomb of parts", bomb(9) + "performer: {}\nparts: *a8\nassignment: {}\n", "it has anchors"),
    ("a bomb of scores", f"{bomb(9)}{HEAD}assignment: {{}}\nscores: *a8\n", "it has anchors"),
    ("scores: 5", HEAD + "assignment: {}\nscores: 5\n", "`scores` is no table"),
    (
        "scores of another shape",
        HEAD + "assignment: {}\nscores: [[1, 2]]\n",
        "`scores` has the shape .1, 2. instead of .3, 2.",
    ),
    ("ragged scores", HEAD + "assignment: {}\nscores: [[1], [1, 2], [1]]\n", "`scores` is no table"),
    ("matrix: 5", HEAD + "assignment: {}\nmatrix: 5\n", "`matrix` is no table"),
    ("a bomb of shares", f"{bomb(9)}{HEAD}assignment: {{}}\nmatrix: *a8\n", "it has anchors"),
    ("shares above 1", HEAD + "assignment: {}\nmatrix: [[1, 1], [0, 0], [0, 0]]\n", "add up to at most 1"),
    ("source: 5", HEAD + "assignment: {}\nsource: 5\n", "`source` must be one of"),
]


def assignment(path: Path) -> tuple[int, ...]:
    return read_parts(path, performer=PERFORMER).assignment


def pictures(*names: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(b"")
        return folder

    return make


def found(images: str) -> Callable[[Path], list[str]]:
    """Names of the files below a folder that an option stands for."""
    return lambda folder: [path.relative_to(folder).as_posix() for path in image_files(f"{folder}/{images}")]


def circle(folder: Path) -> Path:
    pictures("a.jpg")(folder)
    (folder / "again").symlink_to(".")
    (folder / "lost.jpg").symlink_to("gone.jpg")
    return folder


SEVERAL = pictures("a[1]/b.jpg", "a1/c.jpg", 'it\'s "here"/d e.PNG', "x\ny/ä.jpeg", "notes.txt", "empty/notes.txt")
PATTERNS: list[tuple[str, Callable[[Path], Path], str, Any]] = [
    ("a folder with brackets", SEVERAL, "a[1]", ["a[1]/b.jpg"]),
    ("a pattern below it", SEVERAL, "a[1]/*.jpg", ["a[1]/b.jpg"]),
    ("a pattern with brackets", SEVERAL, "a[0-9]/*", ["a1/c.jpg"]),
    ("a file below it", SEVERAL, "a[1]/b.jpg", ["a[1]/b.jpg"]),
    ("quotes and blanks", SEVERAL, 'it\'s "here"/*', ['it\'s "here"/d e.PNG']),
    ("a newline", SEVERAL, "x\ny/*", ["x\ny/ä.jpeg"]),
    ("a folder of text", SEVERAL, "empty", "there is no image file in"),
    ("a pattern for nothing", SEVERAL, "*.gif", "there is no image file in"),
    ("a pattern that is none", SEVERAL, "[", "there is no image file in"),
    ("a user that is not", SEVERAL, "~nobody-at-all/*.jpg", "there is no image file in"),
    ("a circle and a broken link", circle, "", ["a.jpg", "lost.jpg"]),
    ("a pattern over a circle", circle, "**/a.jpg", ["a.jpg"]),
]


def text(name: str, content: str | bytes) -> Callable[[Path], Path]:
    return file(name, content if isinstance(content, bytes) else content.encode())


TABLES = [
    *(Malformed(f"attributes {name}", text(at, content), labels, result) for name, at, content, result in ATTRIBUTES),
    *(
        Malformed(f"partition {name}", text(at, content), read_partition, result)
        for name, at, content, result in PARTITIONS
    ),
    *FOLDERS,
    *(
        Malformed(f"names of filters: {name}", text("parts.yaml", content), assignment, result)
        for name, content, result in NAMES
    ),
    Malformed("names of filters: a folder", lambda folder: folder, assignment, "Expected a file with names of filters"),
    *(Malformed(f"images: {name}", make, found(images), result) for name, make, images, result in PATTERNS),
]
