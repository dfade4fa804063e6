"""Private names of other libraries: one test each, which says what is lost where the name is gone."""

from __future__ import annotations

import ast
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import timm
import torch
from python_devices import MAKER, needs_python_devices
from torch import nn
from torch.utils import backend_registration

from clsuite import private_api
from clsuite.errors import UserError

ROOT = Path(__file__).parents[1]
OURS = {"_augment_generator", "_figure", "_learn", "_resume", "_save", "_unknown_tag", "_rows", "_repr_png_"}
"""Private names of clsuite's own classes, and what notebooks ask for."""
OF_PYTHON = {"_exit", "_replace", "_fields", "_make", "_actions", "_SubParsersAction"}
"""Documented, or of the standard library's argparse."""


def private_names(text: str) -> Iterator[tuple[int, str]]:
    """Line and name of each private name of something else that a module reads or writes."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute) and not _is_own(node.value):
            yield from _if_private(node, node.attr)
        if isinstance(node, ast.ImportFrom):
            for name in ((node.module or "").split(".") if not node.level else []) + [one.name for one in node.names]:
                yield from _if_private(node, name)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("getattr", "setattr", "hasattr"):
            name = node.args[1] if len(node.args) > 1 else None
            if isinstance(name, ast.Constant):
                yield from _if_private(node, str(name.value))


def defined_names(text: str) -> set[str]:
    """Names of the functions and methods that a module has itself."""
    return {node.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)}


def _is_own(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def _if_private(node: Any, name: str) -> Iterator[tuple[int, str]]:
    if (name.startswith("_") and not name.startswith("__")) or name == "__class__":
        yield node.lineno, name


@pytest.mark.slow
def test_private_names_stand_in_one_module() -> None:
    found = []
    for path in sorted([*(ROOT / "clsuite").rglob("*.py"), *(ROOT / "plugins").glob("*.py")]):
        if path.name != "private_api.py":
            text = path.read_text(encoding="utf-8")
            own = OURS | OF_PYTHON | defined_names(text)
            foreign = [(line, name) for line, name in private_names(text) if name not in own]
            found += [f"{path.relative_to(ROOT)}:{line}: {name}" for line, name in foreign]
    assert found == []


def test_a_private_name_is_seen() -> None:
    text = (
        "from torch.nn.modules.batchnorm import _BatchNorm\nx._version\nself._own\ngetattr(x, '_mmap')\nx.__class__ = y"
    )
    assert sorted(private_names(text)) == [(1, "_BatchNorm"), (2, "_version"), (4, "_mmap"), (5, "__class__")]


@pytest.fixture
def vit() -> Any:
    return timm.create_model("vit_tiny_patch16_224", img_size=32, depth=1, num_classes=0)


def test_timm_positions_tokens(vit: Any) -> None:
    """Gone: the shortcut for the class token (`class_token.py`). CLSUITE_FAST_PATHS=0 does without it."""
    tokens = private_api.positioned_tokens(vit, vit.patch_embed(torch.zeros(2, 3, 32, 32)))
    assert tokens.shape == (2, 5, vit.embed_dim)


def test_modules_keep_hooks_where_they_are_looked_for() -> None:
    """Gone: shortcuts that step aside for hooks, an altered text tower, and the conformance checks of hooks."""
    module = nn.Linear(1, 1)
    assert not any(private_api.hooks_of(module))
    adders = (
        module.register_forward_pre_hook, module.register_forward_hook,
        module.register_full_backward_pre_hook, module.register_full_backward_hook,
    )  # fmt: skip
    for number, (name, add) in enumerate(zip(private_api.HOOKS, adders, strict=True), 1):
        add(lambda *_: None)
        assert sum(map(len, private_api.hooks_of(module))) == number
        assert len(private_api.hooks_of(module, name)[0]) == 1


def test_global_hooks_are_counted() -> None:
    """Gone: the conformance check that a method leaves no hook on all modules."""
    handles = [
        nn.modules.module.register_module_forward_pre_hook(lambda *_: None),
        nn.modules.module.register_module_forward_hook(lambda *_: None),
    ]
    assert [len(one) for one in private_api.global_forward_hooks()] == [1, 1]
    for handle in handles:
        handle.remove()
    assert [len(one) for one in private_api.global_forward_hooks()] == [0, 0]


@pytest.mark.parametrize("kind", [nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm])
def test_batch_normalizations_have_one_base(kind: type[nn.Module]) -> None:
    """Gone: running statistics of frozen layers would move, and those of swapped weights would not."""
    assert issubclass(kind, private_api.batch_norm_class())
    assert not issubclass(nn.LayerNorm, private_api.batch_norm_class())


def test_a_change_in_place_raises_the_version() -> None:
    """Gone: texts of a CLIP would be taken from before its text tower was trained."""
    value = torch.zeros(2)
    before = private_api.tensor_version(value)
    value.add_(1)
    assert private_api.tensor_version(value) > before


def test_gamma_follows_its_generator_and_its_distribution() -> None:
    """Gone: the weights of AugMix, which follow from a generator of the run."""

    def draw(seed: int) -> torch.Tensor:
        return private_api.standard_gamma(torch.full((4000,), 2.0), torch.Generator().manual_seed(seed))

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))
    assert math.isclose(float(draw(1).mean()), 2.0, abs_tol=0.1)
    assert math.isclose(float(draw(1).var()), 2.0, abs_tol=0.2)


def test_a_fused_optimizer_may_be_told_to_unscale_first() -> None:
    """Gone: under float16 a fused Adam would clip gradients that are still scaled."""
    optimizer: Any = torch.optim.AdamW([nn.Parameter(torch.zeros(1))], fused=True)
    assert optimizer._step_supports_amp_scaling is True
    private_api.clip_true_gradients(optimizer)
    assert optimizer._step_supports_amp_scaling is False


def test_the_processor_says_whether_it_has_bf16() -> None:
    """Gone: precision auto would be 32 on processors that have bfloat16."""
    assert hasattr(torch.cpu, "_is_avx512_bf16_supported")
    flags = Path("/proc/cpuinfo")
    if flags.is_file() and "flags" in flags.read_text():
        assert private_api.cpu_has_native_bf16() == ("avx512_bf16" in flags.read_text())


BACKEND = """
import torch
from clsuite import private_api as api

class Module:
    def device_count(self): return 1
    def current_device(self): return 0
    def is_initialized(self): return True
    def is_available(self): return True
    def manual_seed_all(self, seed): pass
    def _is_in_bad_fork(self): return False

class Wrapped(api.wrapper_tensor_class()):
    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return operate(func, *args, **(kwargs or {}))

def operate(func, *args, **words):
    words.pop("device", None)
    args = [one.below if isinstance(one, Wrapped) else one for one in args]
    return Wrapped(func(*args, **words), torch.device("ours", 0))

kept = api.register_python_backend("ours", Module(), operate, {})
made = torch.ones(2, 3, device="ours").T + 1
assert made.device == torch.device("ours", 0) and made.shape == (3, 2) and made.stride() == (1, 3)
assert made.below.tolist() == [[2.0, 2.0]] * 3
print("made")
"""


@pytest.mark.slow
@needs_python_devices
def test_a_device_is_made_in_python() -> None:
    """Gone: the simulated device, on which every method learns in the tests and ``clsuite check --device``."""
    done = subprocess.run([sys.executable, "-c", BACKEND], capture_output=True, text=True)
    assert done.stdout == "made\n", done.stderr


def test_a_pytorch_that_can_make_no_device_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(backend_registration, MAKER, raising=False)
    with pytest.raises(UserError, match=r"a device made in Python needs a newer PyTorch than \d"):
        private_api.register_python_backend("ours", None, print, {})


def test_a_device_knows_operations_apart() -> None:
    """Gone: what would wait for a GPU is not counted, and copies between devices end as if they were mistakes."""
    kinds = {kind: private_api.device_operations(kind) for kind in ("copying", "reading", "indexing", "by content")}
    names = {kind: {str(one).split(".")[1] for one in operations} for kind, operations in kinds.items()}
    assert names["reading"] == {"_local_scalar_dense"}
    assert {"_to_copy", "copy_"} == names["copying"]
    assert {"index", "index_put_"} < names["indexing"]
    assert {"nonzero", "bincount"} < names["by content"]


def test_a_module_becomes_another() -> None:
    """Gone: the matrix product in place of a slow convolution. CLSUITE_FAST_PATHS=0 does without it."""

    class Twice(nn.Linear):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(input)

    layer, given = nn.Linear(2, 2), torch.ones(1, 2)
    before, names = layer(given), list(layer.state_dict())
    private_api.become(layer, Twice)
    assert torch.equal(layer(given), 2 * before)
    assert list(layer.state_dict()) == names


class _Module(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.seen: dict[str, Any] = {}

    def training_step(self, batch: torch.Tensor, number: int) -> torch.Tensor:
        trainer = private_api.trainer_of(self)
        self.seen = {
            "trainer": trainer,
            "source": private_api.training_source(trainer),
            "optimizers": private_api.optimizers_of(trainer),
        }
        loss: torch.Tensor = self.layer(batch).sum()
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_lightning_says_what_it_trains_on_and_by_what() -> None:
    """Gone: the conformance check that a method leaves the trainer's loader and optimizer alone."""
    module, loader = _Module(), torch.utils.data.DataLoader([torch.ones(1)])
    assert private_api.trainer_of(module) is None
    trainer = L.Trainer(
        max_steps=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, loader)
    assert module.seen["trainer"] is trainer
    assert module.seen["source"] is loader
    assert [type(one) for one in module.seen["optimizers"]] == [torch.optim.SGD]
    assert private_api.gathers_gradients(trainer) is False


def test_lightning_looks_up_once_which_packages_add_callbacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gone: each trainer would read the metadata of all installed packages."""
    from lightning.fabric.utilities import registry

    asked: list[str] = []

    def entry_points(group: str) -> list[Any]:
        asked.append(group)
        return []

    monkeypatch.setattr("importlib.metadata.entry_points", entry_points)
    monkeypatch.setattr(registry, "entry_points", entry_points)
    for _ in range(2):
        private_api.look_up_callbacks_once()
        assert registry._load_external_callbacks("lightning.pytorch.callbacks_factory") == []
    assert asked == ["lightning.pytorch.callbacks_factory"]


def test_a_module_tells_its_parts() -> None:
    """Gone: checkpoints within a task."""
    module = torch.nn.BatchNorm1d(2, affine=False)
    assert private_api.parts_by_name(module).keys() == {
        "weight", "bias", "running_mean", "running_var", "num_batches_tracked"
    }  # fmt: skip
    assert private_api.parts_by_name(torch.nn.Sequential(module)) == {"0": module}


def test_a_memory_map_is_found_below_an_array(tmp_path: Path) -> None:
    """Gone: pages of large tables would stay in the memory of each run."""
    np.save(tmp_path / "table.npy", np.zeros((2, 3), np.uint8))
    mapped = np.load(tmp_path / "table.npy", mmap_mode="r")
    assert private_api.memory_map(mapped) is not None
    assert private_api.memory_map(np.zeros(3)) is None


def test_avalanche_evaluates_batches_and_labels_data_sets() -> None:
    """Gone: Avalanche's strategies as methods (`clsuite/avalanche`)."""
    from avalanche.training import Naive

    class Images(torch.utils.data.Dataset[Any]):
        targets = (0, 1)

        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> tuple[Any, int]:
            return torch.full((3,), float(index)), self.targets[index]

    labeled = private_api.labeled_dataset(Images(), {"train": (lambda image: 2 * image, None), "eval": (None, None)})
    assert labeled[1][0].tolist() == [2.0, 2.0, 2.0]
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    strategy: Any = Naive(model=model, optimizer=optimizer, train_mb_size=2, evaluator=None)
    private_api.begin_evaluation(strategy, [])
    inputs = torch.ones(4, 3)
    strategy.mbatch = [inputs, torch.zeros(4), torch.zeros(4)]
    assert torch.equal(private_api.evaluate_batch(strategy), model(inputs))
    private_api.end_evaluation(strategy)
