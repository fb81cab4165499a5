"""Run folders that somebody wants to do harm with: each spoils a finished run and names the commands to open it with.

An attempt has succeeded if the canary appears, if anything outside the run folder and the output folder has changed, or
if the value of the environment variable SECRET is in any file afterwards.
"""

import contextlib
import json
import os
import pickle
import runpy
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import yaml
from support import ROOT

from semexplain.__main__ import main

REBUILT = ("explain", "report", "evaluate", "resume")
READ = ("compare", "tables")
SECRET = "hunter2-is-not-a-good-password"
STRANGER = "a_stranger_to_this_house"
SECONDS = 60
Result = TypeVar("Result")


class Hostile(NamedTuple):
    """A name, how it spoils a finished run folder so that the canary would appear, and the verbs to open it with."""

    name: str
    spoil: Callable[[Path, Path], None]
    verbs: tuple[str, ...] = REBUILT


class Touch:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.path,)


# -- the configuration -----------------------------------------------------------------------------------------------


def changed(run: Path, key: str, value: Any) -> None:
    """Set an option of a recorded configuration, by dotted key."""
    config = yaml.safe_load((run / "config.yaml").read_text())
    *way, last = key.split(".")
    node = config
    for word in way:
        node[word] = node.get(word) or {}
        node = node[word]
    node[last] = value
    (run / "config.yaml").write_text(yaml.safe_dump(config))


def option(key: str, value: Callable[[Path, Path], Any]) -> Callable[[Path, Path], None]:
    return lambda run, canary: changed(run, key, value(run, canary))


def pickled(run: Path, canary: Path, name: str = "evil.pkl") -> str:
    (run / name).write_bytes(pickle.dumps(Touch(canary)))
    return str(run / name)


def pickled_array(run: Path, canary: Path) -> str:
    np.save(run / "evil.npy", np.array([Touch(canary)], dtype=object), allow_pickle=True)
    return str(run / "evil.npy")


def hub(run: Path, canary: Path) -> str:
    (run / "hubconf.py").write_text(f"import os\nos.mkdir({str(canary)!r})\n\ndef f():\n    pass\n")
    return str(run)


PAYLOADS: dict[str, Callable[[Path, Path], dict[str, Any]]] = {
    "the program that runs a job": lambda run, canary: {
        "_target_": "semexplain.runs.sweeps._run",
        "command": ["touch", str(canary)],
        "cwd": ".",
        "environment": {"PATH": os.environ["PATH"]},
        "folder": str(run),
        "_convert_": "all",
    },
    "a pickle through torch": lambda run, canary: {
        "_target_": "semexplain.performers.weights.torch.load",
        "f": pickled(run, canary),
        "weights_only": False,
    },
    "a pickle through torchmetrics": lambda run, canary: {
        "_target_": "torchmetrics.metric.torch.load",
        "f": pickled(run, canary),
        "weights_only": False,
    },
    "a pickle through NumPy": lambda run, canary: {
        "_target_": "semexplain.system.row_store.np.load",
        "file": pickled_array(run, canary),
        "allow_pickle": True,
    },
    "a repository of models": lambda run, canary: {
        "_target_": "torch.optim.optimizer.torch.hub.load",
        "repo_or_dir": hub(run, canary),
        "model": "f",
        "source": "local",
    },
    "a download": lambda run, canary: {
        "_target_": "semexplain.performers.weights.torch.hub.download_url_to_file",
        "url": (run / "config.yaml").absolute().as_uri(),
        "dst": str(canary),
    },
    "text": lambda run, canary: {"_target_": "semexplain.system.files.write_text", "path": str(canary), "text": "x"},
    "a copy": lambda run, canary: {
        "_target_": "semexplain.runs.tasks.shutil.copyfile",
        "src": str(run / "config.yaml"),
        "dst": str(canary),
    },
    "a shell": lambda run, canary: {"_target_": "os.system", "command": f"touch '{canary}'"},
    "a shell through a module": lambda run, canary: {
        "_target_": "semexplain.system.files.os.system",
        "command": f"touch '{canary}'",
    },
    "a process": lambda run, canary: {
        "_target_": "semexplain.runs.sweeps.subprocess.Popen",
        "args": ["touch", str(canary)],
    },
    "a part of a function": lambda run, canary: {
        "_target_": "functools.partial",
        "_args_": [{"_target_": "os.mkdir", "_args_": [str(canary)]}],
    },
    "code": lambda run, canary: {"_target_": "builtins.eval", "_args_": [f"__import__('os').mkdir({str(canary)!r})"]},
    "hidden names": lambda run, canary: {
        "_target_": "semexplain.concepts.losses.prior_l2.__globals__",
        "_args_": [f"touch {canary}"],
    },
    "Hydra again": lambda run, canary: {
        "_target_": "semexplain.system.config.hydra.utils.instantiate",
        "config": {"_target_": "os.mkdir", "_args_": [str(canary)]},
    },
    "a log file": lambda run, canary: {"_target_": "logging.FileHandler", "filename": str(canary)},
    "drawn faces": lambda run, canary: {
        "_target_": "semexplain.data.synthetic_faces.write_faces",
        "root": {"_target_": "pathlib.Path", "_args_": [str(canary)]},
    },
    "a callback that runs what it gets": lambda run, canary: {
        "_target_": "pytorch_lightning.callbacks.LambdaCallback",
        "on_fit_start": {"_target_": "os.mkdir", "_args_": [str(canary)]},
    },
    "a folder": lambda run, canary: {"_target_": "pathlib.Path.touch", "_args_": [str(canary)]},
    "a stranger's module": lambda run, canary: {"_target_": f"{STRANGER}.f"},
}
SHELL = PAYLOADS["a shell through a module"]
PLACES = (
    "module.metrics.evil",
    "metrics.evil",
    "callbacks.evil",
    "logger.evil",
    "figures.evil",
    "report_figures.evil",
    "module.explainer.depth",
    "module.optimizer.lr",
    "performer.target",
    "data.limit",
    "trainer.max_epochs",
    "concepts.names",
    "beta",
    "seed",
)
DISGUISES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "in lists": lambda node: [[node]],
    "in arguments": lambda node: {"_target_": "torch.optim.Adam", "_partial_": True, "_args_": [node]},
    "not built at once": lambda node: {"_target_": "torch.optim.Adam", "_recursive_": False, "params": node},
    "in part": lambda node: {**node, "_partial_": True},
    "as a reference": lambda node: {**node, "_target_": "${evil}"},
    "as text to decode": lambda node: "${oc.decode:'{_target_: os.system, command: id}'}",
    "as a created node": lambda node: "${oc.create:{_target_:os.system,command:id}}",
    "with a letter that looks alike": lambda node: {**node, "_target_": "ѕemexplain.system.files.os.system"},
    "with two dots": lambda node: {**node, "_target_": "semexplain.system.files..os.system"},
    "as a list": lambda node: {**node, "_target_": ["os", "system"]},
    "as a node": lambda node: {**node, "_target_": {"_target_": "os.system"}},
}


def stranger(run: Path, canary: Path) -> None:
    """A module that can be imported, which makes the canary, named as the performer."""
    (run / f"{STRANGER}.py").write_text(f"import os\nos.mkdir({str(canary)!r})\n\nclass Performer:\n    pass\n")
    sys.path.insert(0, str(run))
    changed(run, "performer._target_", f"{STRANGER}.Performer")


NETWORK = "semexplain.performers.named_network.NamedNetwork"


def named(model: Callable[[Path, Path], str], key: str = "performer", **more: Any) -> Callable[[Path, Path], None]:
    """Anyone's network, by what it is called."""
    rest = {"layer": "0", "transform": {"size": 32}, "target": 0, **more}
    return option(key, lambda run, canary: {"_target_": NETWORK, "model": model(run, canary), **rest})


def code(run: Path, canary: Path) -> str:
    """A file whose function makes the canary, as the file does itself."""
    (run / f"{STRANGER}.py").write_text(
        f"import os\nos.path.isdir({str(canary)!r}) or os.mkdir({str(canary)!r})\n\ndef build():\n    pass\n"
    )
    sys.path.insert(0, str(run))
    return f"{run / STRANGER}.py:build"


def in_order(run: Path, canary: Path) -> None:
    """The name of the network as a positional argument."""
    changed(run, "performer", {"_target_": NETWORK, "_args_": [code(run, canary)]})


def with_remote_code(run: Path, canary: Path) -> str:
    code(run, canary)
    said = {"model_type": "resnet", "auto_map": {"AutoModelForImageClassification": f"{STRANGER}.build"}}
    (run / "config.json").write_text(json.dumps(said))
    return f"hf:{run}"


def with_pickled_weights(run: Path, canary: Path) -> str:
    said = {"model_type": "resnet", "embedding_size": 4, "hidden_sizes": [4], "depths": [1]}
    (run / "config.json").write_text(json.dumps(said))
    pickled(run, canary, "pytorch_model.bin")
    return f"hf:{run}"


def a_graph_of_something_else(run: Path, canary: Path) -> str:
    pickled(run, canary, "net.onnx")
    return str(run / "net.onnx")


NETWORKS = [
    Hostile("a network of code", named(code), (*REBUILT, *READ)),
    Hostile("a network of a module", named(lambda run, canary: code(run, canary) and f"{STRANGER}:build")),
    Hostile("a network of code among the metrics", named(code, "metrics.evil")),
    Hostile("a network of code as the control", named(code, "module.control")),
    Hostile("a network of code in order", in_order),
    Hostile("a network with remote code", named(with_remote_code)),
    Hostile("a network with pickled weights", named(with_pickled_weights)),
    Hostile("a network to download", named(lambda run, canary: "hf:a-stranger/net")),
    Hostile("a network that is a pickle", named(a_graph_of_something_else)),
    Hostile(
        "a network with a pickle as its checkpoint",
        lambda run, canary: named(
            lambda run, canary: "torchvision:squeezenet1_1", checkpoint=pickled(run, canary, "w.pth")
        )(run, canary),
    ),
]
EXECUTING = [
    *NETWORKS,
    *(
        Hostile(f"{name}, as {PLACES[number % len(PLACES)]}", option(PLACES[number % len(PLACES)], payload))
        for number, (name, payload) in enumerate(PAYLOADS.items())
    ),
    *(Hostile(f"{place} as a shell", option(place, SHELL)) for place in PLACES),
    *(
        Hostile(
            f"a shell {name}", option("module.metrics.evil", lambda run, canary, hide=hide: hide(SHELL(run, canary)))
        )
        for name, hide in DISGUISES.items()
    ),
    Hostile("a performer of a module in the folder", stranger),
]

# -- where it writes -------------------------------------------------------------------------------------------------

ELSEWHERE = {
    "callbacks.best_checkpoint.dirpath": lambda canary: str(canary),
    "callbacks.last_checkpoint.dirpath": lambda canary: f"../{canary.name}",
    "callbacks.last_checkpoint.filename": lambda canary: f"../../{canary.name}",
    "callbacks.best_checkpoint.filename": lambda canary: str(canary),
    "callbacks.log_explanations.figures": lambda canary: {f"../../{canary.name}": None},
    "logger.csv.name": lambda canary: f"../{canary.name}",
    "logger.csv.version": lambda canary: str(canary),
    "logger.csv.save_dir": lambda canary: str(canary),
    "paths.cache": lambda canary: str(canary),
    "paths.performers": lambda canary: str(canary),
    "paths.outputs": lambda canary: str(canary),
    "data.cache": lambda canary: str(canary),
    "data.index": lambda canary: str(canary),
    "data.root": lambda canary: str(canary),
    "trainer.default_root_dir": lambda canary: str(canary),
    "logger.more": lambda canary: {
        "_target_": "pytorch_lightning.loggers.TensorBoardLogger",
        "_partial_": True,
        "name": f"../{canary.name}",
    },
    "logger.wandb": lambda canary: {
        "_target_": "semexplain.training.weights_and_biases.WeightsAndBiases",
        "_partial_": True,
        "project": "mine",
        "entity": "a-stranger",
        "offline": True,
        "dir": str(canary),
    },
    "callbacks.more": lambda canary: {
        "_target_": "pytorch_lightning.callbacks.OnExceptionCheckpoint",
        "dirpath": str(canary),
    },
    "callbacks.numbers": lambda canary: {
        "_target_": "semexplain.training.callbacks.validation_numbers.ValidationNumbers",
        "best": "checkpoints/best.ckpt",
        "file": str(canary),
    },
    "module.metrics.logger": lambda canary: {
        "_target_": "pytorch_lightning.loggers.CSVLogger",
        "save_dir": str(canary),
    },
}


def figures_elsewhere(run: Path, canary: Path) -> None:
    figure = {"_target_": "semexplain.report.figures.summary.summary", "_partial_": True}
    for key in ("figures", "report_figures", "callbacks.log_explanations.figures"):
        changed(run, key, {f"../../{canary.name}": figure})
    changed(run, "callbacks.log_explanations.every_n_epochs", 1)


def linked(*names: str) -> Callable[[Path, Path], None]:
    """A link in the run folder to the canary, which is not there yet."""

    def spoil(run: Path, canary: Path) -> None:
        path = run.joinpath(*names)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.parent.mkdir(exist_ok=True)
        path.symlink_to(canary)

    return spoil


def linked_folder(name: str) -> Callable[[Path, Path], None]:
    """A link in the run folder to a folder beside it."""

    def spoil(run: Path, canary: Path) -> None:
        shutil.rmtree(run / name, ignore_errors=True)
        (run / name).symlink_to(canary.parent, target_is_directory=True)

    return spoil


WRITING = [
    *(
        Hostile(f"{key} elsewhere", option(key, lambda run, canary, value=value: value(canary)))
        for key, value in ELSEWHERE.items()
    ),
    Hostile("names of figures that lead elsewhere", figures_elsewhere),
    Hostile("a link as the log", linked("train.log"), ("resume",)),
    Hostile("a link as the lock", linked(".lock"), ("resume",)),
    Hostile("a link as the last checkpoint", linked("checkpoints", "last.ckpt"), ("resume",)),
    Hostile("a link as the table of numbers", linked("metrics.csv"), ("resume",)),
    Hostile("a link as the page", linked("report.html"), ("report",)),
    Hostile("a link as the signature", linked(".own"), REBUILT),
    Hostile("a link as the tables", linked("tables"), ("tables",)),
    Hostile("a link as the folder of evaluations", linked_folder("evaluations"), ("evaluate",)),
    Hostile("a link as the folder of images", linked_folder("images"), ("explain",)),
    Hostile("a link as the folder of figures", linked_folder("figures"), ("resume",)),
    Hostile("a link as the folder of Weights & Biases", linked_folder("wandb"), ("resume",)),
]

# -- what it learns --------------------------------------------------------------------------------------------------


def noted(key: str, value: Callable[[Path, Path], Any]) -> Callable[[Path, Path], None]:
    """Another fact in performer.json."""

    def spoil(run: Path, canary: Path) -> None:
        facts = json.loads((run / "performer.json").read_text())
        (run / "performer.json").write_text(json.dumps({**facts, key: value(run, canary)}))

    return spoil


REFERENCE = "${oc.env:SECRET}"
LEAKING = [
    *(
        Hostile(f"a secret as {key}", option(key, lambda run, canary, value=value: value), (*REBUILT, *READ))
        for key, value in {
            "logger.csv.prefix": REFERENCE,
            "performer.target": REFERENCE,
            "data.root": f"/nowhere/{REFERENCE}",
            "beta": REFERENCE,
            "explainer.note": [f"a {REFERENCE}"],
            "callbacks.best_checkpoint.filename": REFERENCE,
            "module.control": "${oc.env:SECRET,x}",
            "concepts.count": "${oc.decode:${oc.env:SECRET}}",
            "objective": "${first:${oc.env:SECRET},x}",
            "figures": {REFERENCE: None},
            "metrics.evil": {"_target_": REFERENCE},
        }.items()
    ),
    Hostile("a secret as the performer's path", noted("path", lambda run, canary: f"/nowhere/{REFERENCE}")),
    Hostile("a secret as the performer's digest", noted("sha256", lambda run, canary: REFERENCE)),
]

# -- files that are something else -----------------------------------------------------------------------------------


def written(name: str, content: Callable[[Path, Path], str | bytes]) -> Callable[[Path, Path], None]:
    def spoil(run: Path, canary: Path) -> None:
        data = content(run, canary)
        (run / name).write_bytes(data.encode() if isinstance(data, str) else data)

    return spoil


def added(text: str) -> Callable[[Path, Path], str]:
    return lambda run, canary: (run / "config.yaml").read_text() + text.replace("CANARY", str(canary))


def pipe(name: str) -> Callable[[Path, Path], None]:
    def spoil(run: Path, canary: Path) -> None:
        (run / name).unlink(missing_ok=True)
        os.mkfifo(run / name)

    return spoil


def endless(name: str) -> Callable[[Path, Path], None]:
    def spoil(run: Path, canary: Path) -> None:
        (run / name).unlink(missing_ok=True)
        (run / name).symlink_to("/dev/zero")

    return spoil


def a_pipe(run: Path, canary: Path) -> str:
    os.mkfifo(run / "pipe")
    return str(run / "pipe")


BOMB = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9)
)
CONFIG, NUMBERS, FACTS = "config.yaml", "metrics.json", "performer.json"
STRANGE = [
    Hostile("a yaml bomb", written(CONFIG, added(BOMB)), (*REBUILT, *READ)),
    Hostile("a nested configuration", written(CONFIG, added(f"deep: {'[' * 5000}")), READ),
    Hostile("a huge configuration", written(CONFIG, added(f"long: {'x' * 2**23}")), READ),
    Hostile("a tag that runs", written(CONFIG, added("evil: !!python/object/apply:os.mkdir ['CANARY']")), READ),
    Hostile("a tag that makes", written(CONFIG, added("evil: !!python/object/new:os.mkdir ['CANARY']")), REBUILT),
    Hostile("bytes as the configuration", written(CONFIG, lambda run, canary: b"\xff\xfe\x00"), READ),
    Hostile("a list as the configuration", written(CONFIG, lambda run, canary: "- 1"), READ),
    Hostile("nested numbers", written(NUMBERS, lambda run, canary: "[" * 100_000), READ),
    Hostile("a list of numbers", written(NUMBERS, lambda run, canary: "[1]"), READ),
    *(Hostile(f"a pipe as {name}", pipe(name), (*REBUILT, *READ)) for name in (CONFIG, NUMBERS, FACTS, ".own")),
    *(Hostile(f"a pipe as {name}", pipe(name)) for name in ("explanations.parquet", "checkpoints/best.ckpt")),
    Hostile("a pipe as the last checkpoint", pipe("checkpoints/last.ckpt"), ("resume",)),
    *(Hostile(f"an endless {name}", endless(name), (*REBUILT, *READ)) for name in (CONFIG, NUMBERS, FACTS)),
    *(
        Hostile(f"a pickle as {name}", lambda run, canary, name=name: pickled(run, canary, name) and None)
        for name in ("checkpoints/best.ckpt", "checkpoints/last.ckpt", "explanations.parquet")
    ),
    Hostile("a pickle as the performer", noted("path", lambda run, canary: pickled(run, canary, "evil.pth"))),
    Hostile("a pickle as safetensors", noted("path", lambda run, canary: pickled(run, canary, "evil.safetensors"))),
    Hostile("a pipe as the performer", noted("path", a_pipe)),
    Hostile("an endless performer", noted("path", lambda run, canary: "/dev/zero")),
    Hostile("a folder as the performer", noted("path", lambda run, canary: str(run))),
    Hostile("a number as the performer", noted("path", lambda run, canary: 0)),
    Hostile(
        "a pickle as pretrained weights", option("performer.weights", lambda run, canary: pickled(run, canary, "w.pth"))
    ),
]

HOSTILE: list[Hostile] = [*EXECUTING, *WRITING, *LEAKING, *STRANGE]


# -- opening them ----------------------------------------------------------------------------------------------------


def opened(verb: str, run: Path, images: Path, out: Path) -> int:
    """Open a run folder by a command in this process, as its user would; returns the exit status.

    ``resume`` takes its numbers away first, so that there is something to go on with.
    """
    if verb == "resume":
        (run / NUMBERS).unlink(missing_ok=True)
    semexplain = {
        "explain": ["explain", f"run={run}", f"images={images}"],
        "report": ["report", str(run), "--most=3"],
        "compare": ["compare", str(run.parent)],
        "tables": ["tables", str(run)],
    }
    words = {
        "evaluate": ["evaluate.py", f"run={run}", "controls=[]", "metrics=[]", "images=8"],
        "resume": ["train.py", f"resume={run}"],
    }
    with in_time(SECONDS):
        if verb in semexplain:
            return main(semexplain[verb])
        before, sys.argv = sys.argv, words[verb]
        try:
            runpy.run_path(str(ROOT / words[verb][0]), run_name="__main__")
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else 1
        finally:
            sys.argv = before
    return 0


@contextlib.contextmanager
def in_time(seconds: int) -> Iterator[None]:
    """Fail if it takes longer, such as for ever."""
    over = []

    def late(*_: object) -> None:
        over.append(True)
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    if over:  # whatever the command made of it
        raise AssertionError(f"It takes more than {seconds} seconds.")


def contents(folder: Path, without: tuple[Path, ...]) -> dict[str, Any]:
    """All files below a folder, with their size and time, but for those in some folders."""
    return {
        str(path): (path.lstat().st_size, path.lstat().st_mtime_ns)
        for path in folder.rglob("*")
        if not any(path.is_relative_to(place) for place in without) and not path.is_dir()
    }


def leaks(folder: Path) -> list[str]:
    """Files below a folder that hold the secret."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return [str(path) for path in files if SECRET.encode() in path.read_bytes()]


def harm(
    hostile: Hostile, finished: Path, place: Path, command: Callable[[Path, Path], Result]
) -> tuple[Result, str | None]:
    """What a command returns in whose inbox a spoilt copy of a run lies, and the harm that was done, if any.

    Args:
        hostile: How the copy is spoilt.
        finished: The run; nothing beside it may change.
        place: An empty folder; it stays.
        command: Opens the copy, and writes where it is told.
    """
    own = place / "own"  # where the user keeps things
    os.environ |= {f"SEMEXPLAIN_{name}": str(own / name.lower()) for name in ("DATA", "PERFORMERS", "CACHE")}
    os.environ["SECRET"] = SECRET
    run, out = place / "inbox" / "run", place / "out"
    shutil.copytree(finished, run)
    out.mkdir()
    canary = place / "elsewhere" / "canary"
    canary.parent.mkdir()
    (canary.parent / "dear").write_text("to the user")
    hostile.spoil(run, canary)
    before = contents(place, (run, out, own)), contents(finished.parent, ())
    with contextlib.chdir(out):
        result = command(run, out)
    if canary.exists():
        return result, "it was executed"
    if (contents(place, (run, out, own)), contents(finished.parent, ())) != before:
        return result, "it wrote outside the run"
    return result, f"it told the secret: {files}" if (files := leaks(place)) else None
