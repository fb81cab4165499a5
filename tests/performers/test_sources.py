"""From what a network is called to the network: each kind of source, checkpoints in all their wrappings, refusals."""

import copy
import json
import os
import pickle
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from semexplain.data.framing import Framing, read_image
from semexplain.performers import named_network
from semexplain.performers.named_network import NamedNetwork
from semexplain.performers.sources import source_digest, source_of, words_of
from semexplain.runs.options import outline
from semexplain.system.config import instantiate, misfits
from semexplain.system.trouble import DamagedFileError, Trouble

RANDOM = pytest.mark.filterwarnings("ignore:The network .* has random weights")
CODE = """
import layers
from torch import nn


class Net(nn.Sequential):
    def __init__(self, classes: int = 3, width: int = 4):
        super().__init__(nn.Conv2d(3, width, 3, stride=2), nn.ReLU(), layers.Head(width, classes))


def build(classes=3):
    return Net(classes)


def wrong():
    return 3


def broken():
    raise RuntimeError("no such thing")


net = Net()
"""
HEAD = """
from torch import nn


class Head(nn.Module):
    marker = MARKER

    def __init__(self, width, classes):
        super().__init__()
        self.last = nn.Linear(width, classes)

    def forward(self, x):
        return self.last(x.mean((2, 3)))
"""


class Touch:
    """Unpickling it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple:
        return os.mkdir, (self.path,)


@pytest.fixture
def nets(tmp_path: Path) -> Path:
    """A file with networks, which imports what lies beside it."""
    (tmp_path / "nets.py").write_text(CODE)
    (tmp_path / "layers.py").write_text(HEAD.replace("MARKER", "1"))
    return tmp_path / "nets.py"


# -- code ------------------------------------------------------------------------------------------------------------


def test_functions_and_classes_of_a_file(nets: Path):
    before, path = torch.get_rng_state(), list(sys.path)
    source = source_of(f"{nets}:build", arguments={"classes": 5})
    assert source.model(torch.zeros(2, 3, 9, 9)).shape == (2, 5)
    assert (source.name, source.classes, source.preset, source.random) == (f"{nets}:build", None, None, False)
    assert source.digest == source_digest(f"{nets}:Net")
    assert list(source.versions) == ["torch"]
    again = source_of(f"{nets}:Net", arguments={"classes": 5})
    states = zip(source.model.state_dict().values(), again.model.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in states)  # the same each time
    assert torch.equal(before, torch.get_rng_state())
    assert sys.path == path
    assert copy.deepcopy(source.model)(torch.zeros(1, 3, 9, 9)).shape == (1, 5)


def test_files_of_the_same_names_beside_another_file_are_its_own(nets: Path, tmp_path: Path):
    (tmp_path / "other").mkdir()
    other = tmp_path / "other/nets.py"
    other.write_text(CODE)
    (tmp_path / "other/layers.py").write_text(HEAD.replace("MARKER", "2"))
    markers = [source_of(f"{file}:Net").model[2].marker for file in (nets, other, nets)]
    assert markers == [1, 2, 1]


def test_a_module(nets: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(nets.parent))
    (nets.parent / "my_package").mkdir()
    (nets.parent / "my_package/__init__.py").write_text("")
    (nets.parent / "my_package/inner.py").write_text(
        "from torch import nn\n\ndef build():\n    return nn.Linear(2, 3)\n"
    )
    assert source_of("my_package.inner:build").model.out_features == 3
    digest = source_digest("my_package.inner:build")
    (nets.parent / "my_package/inner.py").write_text("raise RuntimeError\n")
    assert source_digest("my_package.inner:build") != digest  # of the file, which is not run for it
    assert source_of("torch.nn:Identity").versions.keys() == {"torch"}
    assert source_digest("torch.nn:Identity") == source_digest("torch:Linear")  # name and version of the package


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("biuld", r"has no 'biuld' \(did you mean 'build'\?\). It has: "),
        ("wrong", r"nets.py:wrong returned a int; expected a torch.nn.Module"),
        ("broken", r"nets.py:broken raised RuntimeError: no such thing \(.*nets.py, line 20\)"),
        ("net", r"nets.py:net is a Net; expected a function or class that builds the network, such as `def build"),
    ],
)
def test_mistakes_in_a_file(nets: Path, name: str, message: str):
    with pytest.raises(Trouble, match=message):
        source_of(f"{nets}:{name}")


def test_a_file_that_cannot_be_run_says_where(nets: Path):
    nets.write_text("import torch\nimport nowhere\n")
    with pytest.raises(Trouble, match=r"raised ModuleNotFoundError: No module named 'nowhere' \(.*nets.py, line 2\)"):
        source_of(f"{nets}:build")
    nets.write_text("def build():\n    pass\n")
    with pytest.raises(Trouble, match="unexpected keyword argument 'depth'"):
        source_of(f"{nets}:build", arguments={"depth": 1})


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("/nowhere/nets.py:build", "model: there is no file /nowhere/nets.py"),
        ("nowhere_at_all.nets:build", "there is no module 'nowhere_at_all.nets'. Is it on PYTHONPATH"),
        ("nets.py", r"got 'nets.py'. Say which function or class of it: `nets.py:build`"),
        ("best.pt", r"got 'best.pt'. A file of weights goes to `checkpoint`"),
        ("resnet18", r"got 'resnet18'. For the library's own: `torchvision:resnet18` or `timm:resnet18`"),
        ("a b", r"expected `my_nets.py:build` .*; got 'a b'\.$"),
        ("torchvision:resnt18", r"torchvision has no 'resnt18' \(did you mean 'resnet18'\?\)"),
        ("/nowhere/net.onnx", "there is no file /nowhere/net.onnx|onnx is not installed"),
    ],
)
def test_what_is_no_name_of_a_network(model: str, message: str):
    with pytest.raises(Trouble, match=message):
        source_of(model)


def test_words_are_absolute_where_they_name_files(nets: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(nets.parent)
    (nets.parent / "folder").mkdir()
    texts = ["nets.py:build", "a.onnx", "hf:folder", "hf:google/vit", "timm:resnet10t", "torch.nn:Identity"]
    here = str(nets.parent)
    expected = [f"{here}/nets.py:build", f"{here}/a.onnx", f"hf:{here}/folder", *texts[3:]]
    assert [words_of(text).absolute() for text in texts] == expected
    assert [words_of(text).executes for text in texts] == [True, False, False, False, False, True]


# -- libraries -------------------------------------------------------------------------------------------------------


def test_torchvision_with_random_weights_warns():
    with pytest.warns(
        UserWarning, match="torchvision:squeezenet1_1 has random weights: name trained ones by `checkpoi"
    ):
        source = source_of("torchvision:squeezenet1_1", arguments={"num_classes": 4})
    assert source.random
    assert source.model(torch.zeros(1, 3, 64, 64)).shape == (1, 4)
    assert source.versions.keys() == {"torch", "torchvision"}


def test_torchvisions_weights_bring_classes_and_preset(monkeypatch: pytest.MonkeyPatch):
    import torchvision

    state = torchvision.models.squeezenet1_1().state_dict()
    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", lambda *args, **kwargs: state)
    source = source_of("torchvision:squeezenet1_1", weights="DEFAULT")
    assert source.classes is not None
    assert source.classes[207] == "golden retriever"
    assert source.preset is not None
    assert (source.preset.framing.shorter, source.preset.framing.height) == (256, 224)
    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", _offline)
    with pytest.raises(Trouble, match="squeezenet1_1 with DEFAULT cannot be built here .*no network"):
        source_of("torchvision:squeezenet1_1", weights="DEFAULT")


def _offline(*args: object, **kwargs: object) -> None:
    raise OSError("no network")


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("torchvision:resnet18", {"weights": "IMAGENET"}, "resnet18 has IMAGENET1K_V1, DEFAULT, got 'IMAGENET'"),
        ("torchvision:resnet18", {"weights": "a.pth"}, "A file goes to `checkpoint`"),
        ("torch.nn:Identity", {"weights": "DEFAULT"}, "names pretrained weights of a torchvision or timm network"),
        ("torchvision:resnet18", {"weights": "DEFAULT", "checkpoint": "a.pth"}, "network without a checkpoint"),
        ("torchvision:resnet18", {"arguments": {"weights": "DEFAULT"}}, "arguments: `weights` is refused"),
        ("torchvision:resnet18", {"arguments": {"depth": 3}}, "cannot be built here .*'depth'"),
    ],
)
def test_mistakes_about_libraries(model: str, options: dict, message: str):
    with pytest.raises(Trouble, match=message):
        source_of(model, **options)


@RANDOM
def test_timm():
    timm = pytest.importorskip("timm")
    source = source_of("timm:resnet10t", arguments={"num_classes": 5})
    assert source.model(torch.zeros(1, 3, 64, 64)).shape == (1, 5)
    assert source.preset is not None
    assert source.preset.framing.height == 176
    assert source.versions["timm"] == timm.__version__
    for model, message in {
        "timm:resnet10": r"timm has no 'resnet10' \(did you mean",
        "timm:hf-hub:timm/resnet10t": "timm has no 'hf-hub:timm/resnet10t'",
        "timm:local-dir:/tmp": "timm has no 'local-dir:/tmp'",
    }.items():
        with pytest.raises(Trouble, match=message):
            source_of(model)
    with pytest.raises(Trouble, match="weights: timm's resnet10t has DEFAULT, .*c3_in1k, got 'in1k'"):
        source_of("timm:resnet10t", weights="in1k")
    for key in ("checkpoint_path", "pretrained", "pretrained_cfg", "cache_dir"):
        with pytest.raises(Trouble, match=f"arguments: `{key}` is refused"):
            source_of("timm:resnet10t", arguments={key: "x"})


def hugging_face(folder: Path) -> nn.Module:
    """A tiny classification network in a folder."""
    transformers = pytest.importorskip("transformers")
    config = transformers.ResNetConfig(
        embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], id2label={0: "cat", 1: "dog"}
    )
    model = transformers.ResNetForImageClassification(config).eval()
    model.save_pretrained(folder)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return model


@RANDOM
def test_hugging_faces_folders(tmp_path: Path):
    model = hugging_face(tmp_path)
    source = source_of(f"hf:{tmp_path}")
    image = torch.rand(1, 3, 32, 32)
    assert torch.equal(source.model.eval()(image).logits, model(image).logits)
    assert (source.classes, source.random) == (("cat", "dog"), False)
    assert source.preset is not None
    assert source.preset.framing.height == 32
    assert source.digest == source_digest(f"hf:{tmp_path}")
    (tmp_path / "kept").mkdir()
    (tmp_path / "model.safetensors").rename(tmp_path / "kept/weights.safetensors")
    with pytest.warns(UserWarning, match="has random weights"):
        assert source_of(f"hf:{tmp_path}").random
    filled = source_of(f"hf:{tmp_path}", checkpoint=str(tmp_path / "kept/weights.safetensors"))
    assert torch.equal(filled.model.eval()(image).logits, model(image).logits)
    (tmp_path / "config.json").unlink()
    with pytest.raises(Trouble, match="there is no file .*config.json"):
        source_of(f"hf:{tmp_path}")
    with pytest.raises(Trouble, match="there is no folder /nowhere"):
        source_of("hf:/nowhere")


def test_a_head_that_was_never_saved_is_refused(tmp_path: Path):
    transformers = pytest.importorskip("transformers")
    config = transformers.ResNetConfig(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1])
    transformers.ResNetModel(config).save_pretrained(tmp_path)
    with pytest.raises(Trouble, match=r"lack classifier.1.bias, classifier.1.weight, which would be random"):
        source_of(f"hf:{tmp_path}")


# -- ONNX ------------------------------------------------------------------------------------------------------------


def onnx_file(path: Path, *, opset: int = 13, pads: bool = False, external: bool = False) -> np.ndarray:
    """A graph of a sum over each colour; returns its weights."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnx2torch")
    helper, kinds = onnx.helper, onnx.TensorProto
    weight = np.random.default_rng(0).random((3 * 64, 2), dtype=np.float32)
    tensors = [onnx.numpy_helper.from_array(weight, "weight")]
    nodes = [helper.make_node("Flatten", ["image"], ["flat"]), helper.make_node("MatMul", ["flat", "weight"], ["out"])]
    if pads:
        tensors.append(onnx.numpy_helper.from_array(np.array([0, 0, 1, 1, 0, 0, 1, 1], dtype=np.int64), "pads"))
        nodes = [helper.make_node("Pad", ["image", "pads"], ["padded"]), *nodes]
        nodes[1].input[0] = "padded"
    size = 6 if pads else 8
    image = helper.make_tensor_value_info("image", kinds.FLOAT, ["N", 3, size, size])
    out = helper.make_tensor_value_info("out", kinds.FLOAT, ["N", 2])
    graph = helper.make_graph(nodes, "net", [image], [out], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    onnx.save_model(model, str(path), save_as_external_data=external, location="tensors.bin", size_threshold=0)
    return weight


@pytest.mark.parametrize(("opset", "pads"), [(13, False), (18, True)])
@pytest.mark.parametrize("external", [False, True])
def test_onnx_graphs(tmp_path: Path, opset: int, pads: bool, external: bool):
    """Also one whose operation onnx2torch knows in an older version only, and one with its tensors beside it."""
    weight = onnx_file(tmp_path / "net.onnx", opset=opset, pads=pads, external=external)
    source = source_of(str(tmp_path / "net.onnx"))
    size = 6 if pads else 8
    image = torch.rand(2, 3, size, size)
    padded = nn.functional.pad(image, [1] * 4) if pads else image
    expected = padded.flatten(1).double() @ torch.from_numpy(weight).double()
    torch.testing.assert_close(source.model(image).double(), expected, rtol=1e-5, atol=1e-5)
    assert source.versions.keys() == {"torch", "onnx2torch"}


def test_onnx_files_that_are_something_else(tmp_path: Path):
    onnx_file(tmp_path / "net.onnx", external=True)
    with pytest.raises(Trouble, match="a graph such as .*net.onnx takes none, got depth"):
        source_of(str(tmp_path / "net.onnx"), arguments={"depth": 1})
    (tmp_path / "tensors.bin").rename(tmp_path / "elsewhere.bin")
    with pytest.raises(Trouble, match=r"keeps its tensors in 'tensors.bin', which is not beside it. Copy both files"):
        source_of(str(tmp_path / "net.onnx"))
    (tmp_path / "text.onnx").write_text("no graph")
    with pytest.raises(Trouble, match=r"text.onnx is no ONNX file|has no graph|cannot convert"):
        source_of(str(tmp_path / "text.onnx"))


@pytest.mark.parametrize("way", ["name", "link"])
def test_onnx_tensors_outside_the_folder_are_not_read(tmp_path: Path, way: str):
    onnx = pytest.importorskip("onnx")
    (tmp_path / "inner").mkdir()
    onnx_file(tmp_path / "inner/net.onnx", external=True)
    (tmp_path / "inner/tensors.bin").rename(tmp_path / "secret.bin")
    if way == "link":
        (tmp_path / "inner/tensors.bin").symlink_to(tmp_path / "secret.bin")
    else:
        model = onnx.load(str(tmp_path / "inner/net.onnx"), load_external_data=False)
        for entry in model.graph.initializer[0].external_data:
            entry.value = "../secret.bin" if entry.key == "location" else entry.value
        (tmp_path / "inner/net.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(Trouble, match="keeps the tensor 'weight' at '.*', outside its folder, which is refused"):
        source_of(str(tmp_path / "inner/net.onnx"))


# -- checkpoints -----------------------------------------------------------------------------------------------------


def wrapped(state: dict) -> dict[str, dict]:
    """A state dict as programs keep it."""
    return {
        "plain": state,
        "module.": {f"module.{key}": value for key, value in state.items()},
        "_orig_mod.": {f"_orig_mod.module.{key}": value for key, value in state.items()},
        "a compiled part": {key.replace("2.", "2._orig_mod."): value for key, value in state.items()},
        "state_dict": {"epoch": 3, "state_dict": state, "optimizer": {"lr": 0.1}},
        "model": {"model": {f"module.{key}": value for key, value in state.items()}},
        "Lightning": {"state_dict": {f"net.{key}": value for key, value in state.items()}, "epoch": 1},
    }


@pytest.mark.parametrize("way", wrapped({}))
def test_checkpoints_are_unwrapped(nets: Path, way: str):
    trained = source_of(f"{nets}:build").model
    for parameter in trained.parameters():
        nn.init.normal_(parameter)
    torch.save(wrapped(trained.state_dict())[way], nets.with_suffix(".pt"))
    found = source_of(f"{nets}:build", checkpoint=str(nets.with_suffix(".pt"))).model
    assert all(torch.equal(value, found.state_dict()[key]) for key, value in trained.state_dict().items())


def test_a_checkpoint_of_safetensors_silences_the_warning(tmp_path: Path):
    import torchvision

    save_file(torchvision.models.squeezenet1_1(num_classes=3).state_dict(), tmp_path / "w.safetensors")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        options = {"checkpoint": str(tmp_path / "w.safetensors"), "arguments": {"num_classes": 3}}
        assert not source_of("torchvision:squeezenet1_1", **options).random


def test_a_checkpoint_need_not_say_of_which_version_its_network_is(tmp_path: Path):
    import torchvision

    trained = torchvision.models.mnasnet0_5(num_classes=3)
    save_file(trained.state_dict(), tmp_path / "w.safetensors")
    options = {"checkpoint": str(tmp_path / "w.safetensors"), "arguments": {"num_classes": 3}}
    found = source_of("torchvision:mnasnet0_5", **options).model
    assert all(torch.equal(value, found.state_dict()[key]) for key, value in trained.state_dict().items())


def test_checkpoints_that_do_not_fit_are_refused(nets: Path):
    file = nets.with_suffix(".pt")
    state = source_of(f"{nets}:build").model.state_dict()
    for change, message in {
        "missing": r"\(1 of its 4 tensors are missing, 0 are too many\): .*expected 2.last.bias \(3,\), got none",
        "more": r"\(0 of its 4 tensors are missing, 1 are too many\): .*expected extra absent, got \(3,\)",
        "shape": r"\(0 of its 4 tensors are missing, 0 are too many\): .*2.last.bias \(3,\), got \(4,\)",
    }.items():
        other = dict(state)
        if change == "missing":
            del other["2.last.bias"]
        else:
            other["extra" if change == "more" else "2.last.bias"] = torch.zeros(3 if change == "more" else 4)
        torch.save(other, file)
        with pytest.raises(Trouble, match=f"nets.pt does not fit .*nets.py:build {message}"):
            source_of(f"{nets}:build", checkpoint=str(file))
    with pytest.raises(Trouble, match="checkpoint: there is no file /nowhere/best.pt"):
        source_of(f"{nets}:build", checkpoint="/nowhere/best.pt")


def test_nothing_in_a_checkpoint_is_run(nets: Path, tmp_path: Path):
    """A pickle, a whole model and a program are refused with the mend."""
    canary, file = tmp_path / "canary", tmp_path / "w.pt"
    file.write_bytes(pickle.dumps(Touch(canary)))
    with pytest.raises((Trouble, DamagedFileError)):
        source_of(f"{nets}:build", checkpoint=str(file))
    torch.save({"state_dict": Touch(canary)}, file)
    with pytest.raises(Trouble, match="holds more than weights .* would run code of its own"):
        source_of(f"{nets}:build", checkpoint=str(file))
    torch.save(nn.Linear(2, 2), file)
    with pytest.raises(Trouble, match=r"holds more than weights .*a whole module.*torch.save\(torch.load"):
        source_of(f"{nets}:build", checkpoint=str(file))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated
        torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)), str(file))
    with pytest.raises(Trouble, match=r"is a TorchScript archive, .*torch.save\(torch.jit.load\(file\).state_dict"):
        source_of(f"{nets}:build", checkpoint=str(file))
    assert not canary.exists()


# -- what comes with a Hugging Face folder ---------------------------------------------------------------------------


def remote_code(folder: Path, canary: Path) -> None:
    text = f"import os\nos.mkdir({str(canary)!r})\n\nclass Config:\n    pass\n\nclass Net:\n    pass\n"
    (folder / "evil.py").write_text(text)
    _configure(folder, auto_map={"AutoConfig": "evil.Config", "AutoModelForImageClassification": "evil.Net"})


def unknown_kind(folder: Path, canary: Path) -> None:
    remote_code(folder, canary)
    _configure(folder, model_type="evil")


def pickled_weights(folder: Path, canary: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"classifier.1.weight": Touch(canary)}, folder / "pytorch_model.bin")


def a_checkpoint_of_timm(folder: Path, canary: Path) -> None:
    (folder / "evil.pth").write_bytes(pickle.dumps(Touch(canary)))
    options = {"checkpoint_path": str(folder / "evil.pth")}
    _configure(folder, model_type="timm_wrapper", architecture="resnet10t", model_args=options)


def a_kernel(folder: Path, canary: Path) -> None:
    _configure(folder, attn_implementation="a-stranger/kernel")


def _configure(folder: Path, **changes: object) -> None:
    said = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**said, **changes}))


FOLDERS: dict[str, Callable[[Path, Path], None]] = {
    "auto_map` is refused": remote_code,
    "is refused": unknown_kind,
    "cannot be built here": pickled_weights,
    "checkpoint_path` is refused": a_checkpoint_of_timm,
    "would fetch code and run it": a_kernel,
}


@pytest.mark.parametrize("message", FOLDERS)
def test_nothing_that_comes_with_a_folder_is_run(tmp_path: Path, message: str):
    hugging_face(tmp_path / "net")
    FOLDERS[message](tmp_path / "net", tmp_path / "canary")
    with pytest.raises(Trouble, match=message):
        source_of(f"hf:{tmp_path / 'net'}")
    assert not (tmp_path / "canary").exists()


# -- a performer of a yaml -------------------------------------------------------------------------------------------

NODE = {
    "_target_": "semexplain.performers.named_network.NamedNetwork",
    "layer": "1",
    "transform": {"size": 16, "mean": 0.5, "std": 0.25},
    "classes": ["a", "b", "c"],
    "target": "b",
}


def test_an_outline_loads_what_the_network_is_made_of_once(nets: Path, monkeypatch: pytest.MonkeyPatch):
    from omegaconf import OmegaConf

    (nets.parent / "log.txt").write_text("")
    nets.write_text(CODE + f"\nwith open({str(nets.parent / 'log.txt')!r}, 'a') as file:\n    file.write('.')\n")
    config = OmegaConf.create({"performer": {**NODE, "model": f"{nets}:build"}})
    outlines = [outline(config) for _ in range(3)]
    assert {performer.target_name for performer in outlines} == {"b"}
    network = instantiate(config.performer)
    assert (nets.parent / "log.txt").read_text() == "."
    assert network.device.type == "cpu"
    assert network.source["sha256"] == source_digest(f"{nets}:build")
    assert network.source["transform"]["mean"] == [0.5, 0.5, 0.5]
    assert network.source["sha256"] in network.variant
    other = instantiate(config.performer)  # nobody else has it
    assert other.model is not network.model
    assert (nets.parent / "log.txt").read_text() == ".."
    outline(config)
    nets.write_text(CODE + "\n# changed\n")
    os.utime(nets, (1, 1))
    assert instantiate(config.performer).source["sha256"] != network.source["sha256"]
    assert not named_network._outlined


def test_an_outline_is_handed_over_as_it_is_whatever_its_output_is_called(nets: Path, monkeypatch: pytest.MonkeyPatch):
    from omegaconf import OmegaConf

    monkeypatch.chdir(nets.parent)
    filters = {"_target_": "semexplain.concepts.filters.Filters"}
    said = {**NODE, "model": f"{nets.name}:build", "target": 1}
    first = outline(OmegaConf.create({"performer": said}))
    named = {**said, "model": f"{nets}:build", "target": "b"}  # as a run writes it down
    second = outline(OmegaConf.create({"performer": named}))
    names = [f"map {at}" for at in range(len(first.concept_names))]
    network = instantiate(OmegaConf.create({**named, "kind": {**filters, "names": names}}))
    assert network.upper is second.upper is first.upper
    assert network.model is first.model
    assert network.target_name == "b"
    assert list(network.concept_names) == names
    assert first.concept_names[0] == "filter_000"
    for other in ({"target": 2}, {"layer": "0"}, {"transform": {"size": 16, "mean": 0.5, "std": 0.5}}):
        outline(OmegaConf.create({"performer": said}))
        assert instantiate(OmegaConf.create({**said, **other})).upper is not first.upper


def test_random_weights_are_told_once_though_the_outline_loaded_them():
    from omegaconf import OmegaConf

    node = {**NODE, "model": "torchvision:squeezenet1_1", "arguments": {"num_classes": 3}, "layer": "features"}
    config = OmegaConf.create({"performer": {**node, "transform": {"size": 64}}})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        outline(config)
    with pytest.warns(UserWarning, match="squeezenet1_1 has random weights"):
        instantiate(config.performer)


def test_a_network_without_a_name_is_asked_for():
    with pytest.raises(Trouble, match=r"model: name the network, `network.model=my_nets.py:build\|.*; got None"):
        NamedNetwork()


def test_optional_packages_are_named_where_they_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "net.onnx").touch()
    for package, model, extra in (
        ("timm", "timm:resnet10t", "timm"),
        ("transformers", "hf:a/b", "hf"),
        ("onnx", str(tmp_path / "net.onnx"), "onnx"),
    ):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(Trouble, match=rf"{package} is not installed.*`pip install 'semexplain\[{extra}\]'`"):
            source_of(model)


TRANSFORMS = """

from torchvision.transforms import v2

middle = v2.Compose([v2.Resize(18), v2.CenterCrop(16), v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)])


def face(picture, side=16):
    pixels = numpy.array(picture.resize((side, side), box=(0, 0, 10, 10)))
    return torch.from_numpy(pixels).permute(2, 0, 1).float() - 100


count = 3
"""


@pytest.mark.parametrize("kind", ["file", "module"])
def test_a_transform_is_called_as_in_the_file_that_builds_the_network(
    kind: str, nets: Path, monkeypatch: pytest.MonkeyPatch
):
    from omegaconf import OmegaConf

    file = nets.with_name("transforming_nets.py")
    file.write_text("import numpy\nimport torch\n" + CODE + TRANSFORMS)
    monkeypatch.syspath_prepend(str(nets.parent))
    monkeypatch.delitem(sys.modules, "transforming_nets", raising=False)
    node = {**NODE, "model": f"{file}:build" if kind == "file" else "transforming_nets:build"}
    network = instantiate(OmegaConf.create({**node, "transform": "face"}))
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    corner = Image.fromarray(picture).resize((16, 16), box=(0, 0, 10, 10))
    expected = torch.from_numpy(np.array(corner)).permute(2, 0, 1).float() - 100
    assert torch.equal(network.pixels(read_image(picture, network.framing)[None])[0], expected)
    assert network.source["transform"]["function"] == "face"
    composed = instantiate(OmegaConf.create({**node, "transform": "middle"}))
    assert composed.framing == Framing(3, 16, 16, shorter=18)
    with pytest.raises(Trouble, match=rf"transform: {node['model'][:-6]} has no 'fase' \(did you mean 'face'\?\)"):
        NamedNetwork(model=node["model"], transform="fase")
    with pytest.raises(Trouble, match="transform: expected `auto`, .*by its name in the file .*; got 3"):
        NamedNetwork(model=node["model"], transform="count")


@RANDOM
def test_a_library_has_no_transforms_by_name():
    with pytest.raises(Trouble, match="transform: expected `auto`, .*; got 'face'"):
        NamedNetwork(model="torchvision:squeezenet1_1", transform="face")


def test_what_a_yaml_may_say_of_an_output(nets: Path):
    nets.write_text(CODE + "\ndef soft():\n    return nn.Sequential(Net(), nn.Softmax(1))\n")
    node = {**NODE, "model": f"{nets}:soft", "layer": "0.1"}
    image = torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8)
    for target, name, expected in (
        (["a", "-c"], "a - c", lambda p: p[:, 0] - p[:, 2]),
        ([0, -2], "a - c", lambda p: p[:, 0] - p[:, 2]),
        (["0", 1], "b", lambda p: None),
        (["0", ["b", "-a"]], "b - a", lambda p: p[:, 1].log() - p[:, 0].log()),
    ):
        assert not list(misfits("", {"target": target}, NamedNetwork, set(), complete=False))
        network = instantiate({**node, "target": target})
        assert network.target_name == name
        score = network.head(network.feature(network.encode(image)))[0]
        if (whole := expected(network.model(network.pixels(image)))) is not None:
            assert torch.allclose(score, whole, atol=1e-5)
    for target in ([["0"], 3], ["nowhere", [1, -2]]):
        with pytest.raises(Trouble, match=r"expected a difference of outputs such as \[3, -5\], or a module with"):
            instantiate({**node, "target": target})
