"""Mistakes that authors make, each planted in a plugin: the check that must name it, the marked line, and the fix.

The line at fault ends in ``# HERE``; where none does it is that of the class.
"""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import indent

HEAD = '''"""A method with a mistake."""

import random

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from clsuite.data.batch import BatchLoader
from clsuite.plugin import Plugin, Traits


class Method(Plugin):
    """A method with a mistake."""

'''


@dataclass(frozen=True)
class Mistake:
    """A planted mistake: the check, parts of its message and of its fix, the class's body, and what fires too."""

    check: str
    message: str
    fix: str
    body: str
    also: frozenset[str] = frozenset()

    @property
    def text(self) -> str:
        body, *rest = self.body.strip("\n").split("\n\n\n")
        return "\n\n\n".join([HEAD + indent(body, "    "), *rest]) + "\n"

    @property
    def line(self) -> int:
        lines = self.text.split("\n")
        marked = [number for number, line in enumerate(lines, start=1) if line.endswith("# HERE")]
        return marked[0] if marked else 1 + lines.index("class Method(Plugin):")


MISTAKES = {
    "forgot super().__init__()": Mistake(
        "constructor", "the constructor of 'Method' does not call super().__init__()", "its first line", '''
def __init__(self, alpha: float = 0.1) -> None:  # HERE
    self.alpha = alpha

def loss(self, learner, step):
    return self.alpha * step.logits.square().mean()
'''),
    "misspelled hook": Mistake(
        "hooks", "`losss` is not a hook; did you mean `loss`?", "write def loss(self, learner, step)", '''
def losss(self, learner, step):  # HERE
    return 0.1 * step.logits.square().mean()
'''),
    "overrides nothing": Mistake(
        "hooks", "'Method' overrides no hook", "override one, such as def loss(", '''
def _helper(self):
    return 1
'''),
    "a hook with too few arguments": Mistake(
        "hooks", "`loss` takes (self, step), but is called with (self, learner, step)", "write def loss(self, lear", '''
def loss(self, step):  # HERE
    return 0.1 * step.logits.square().mean()
'''),
    "calls backward itself": Mistake(
        "trains", "backward through the graph a second time", "leave backward() to the trainer", '''
def loss(self, learner, step):
    value = step.logits.square().mean()
    value.backward()  # HERE
    return value
'''),
    "a name that is not imported": Mistake(
        "trains", "NameError: name 'math' is not defined", "import 'math' at the top of the file", '''
def loss(self, learner, step):
    return math.pi * step.logits.square().mean()  # HERE
'''),
    "an argument without a type": Mistake(
        "constructor", "the argument 'alpha' has no type", "such as alpha: float = 1.0", '''
def __init__(self, alpha=0.1):  # HERE
    super().__init__()
    self.alpha = alpha

def loss(self, learner, step):
    return self.alpha * step.logits.square().mean()
'''),
    "forgot super().__init__() in a module": Mistake(
        "constructor", "'Scale' does not call super().__init__()", "its first line", '''
def on_stream_start(self, learner, scenario):
    learner.register_plugin_module(self, "scale", Scale())


class Scale(nn.Module):
    def __init__(self):  # HERE
        self.weight = nn.Parameter(torch.ones(()))
'''),
    "parameter created too late": Mistake(
        "parameters", "'loss' creates the parameter", "on_task_start", '''
def on_task_start(self, learner, task):
    self._scale = None

def loss(self, learner, step):
    if self._scale is None:
        self._scale = nn.ParameterList([nn.Parameter(torch.ones(()))])
        learner.register_plugin_module(self, f"scale{learner.task.index}", self._scale)  # HERE
    return 0.01 * (self._scale[0] * step.logits).square().mean()
''', also=frozenset({"memory"})),
    "parameter that the learner does not know": Mistake(
        "parameters", "self.scale holds trainable parameters that the learner does not know",
        "register_plugin_module", '''
def on_stream_start(self, learner, scenario):
    self.scale = nn.Parameter(torch.ones(()))  # HERE

def loss(self, learner, step):
    return 0.01 * (self.scale * step.logits).square().mean()
'''),
    "buffer not in state_dict": Mistake(
        "resumes", "self.anchor is not saved", "return it from state_dict()", '''
def __init__(self) -> None:
    super().__init__()
    self.anchor = {}

def loss(self, learner, step):
    if not self.anchor:
        return None
    named = dict(learner.backbone.named_parameters())
    return sum((named[name] - value).square().sum() for name, value in self.anchor.items())

def on_task_end(self, learner, task):
    self.anchor = {name: value.detach().clone() for name, value in learner.backbone.named_parameters()}  # HERE
'''),
    "in-place change of the batch": Mistake(
        "batch", "'transform_batch' writes into batch.images in place", "batch.with_images", '''
def transform_batch(self, learner, batch):
    images = batch.images
    images[:, :, :8] = 0  # HERE
    return batch
'''),
    "in-place change of the logits": Mistake(
        "batch", "'loss' writes into step.logits in place", "clone()", '''
def loss(self, learner, step):
    with torch.no_grad():
        step.logits.div_(2.0)  # HERE
    return step.features.square().mean()
'''),
    "torch's global generator": Mistake(
        "randomness", "'loss' draws from or seeds torch, the global generator", "generator=learner.generator", '''
def loss(self, learner, step):
    noise = torch.randn(step.logits.shape, device=step.logits.device)  # HERE
    return 0.01 * (step.logits * noise).mean()
'''),
    "seeds the global generators": Mistake(
        "randomness", "'on_task_start' draws from or seeds", "generator of your own", '''
def on_task_start(self, learner, task):
    np.random.seed(0)  # HERE
'''),
    "Python's global generator": Mistake(
        "randomness", "'select_indices' draws from or seeds random, the global", "generator of your own", '''
def select_indices(self, learner, task, rows):
    kept = random.sample(range(len(rows)), len(rows) - 1)  # HERE
    return rows[sorted(kept)]
'''),
    "gradient left on frozen weights": Mistake(
        "gradients", "'on_task_end' leaves requires_grad on", "torch.autograd.grad", '''
def on_stream_start(self, learner, scenario):
    learner.backbone.requires_grad_(False)

def on_task_end(self, learner, task):
    learner.backbone.requires_grad_(True)  # HERE
    images = learner.backbone.normalize(learner.images_of(task.train[:4]))
    F.cross_entropy(learner(images), learner.labels_of(task.train[:4])).backward()
'''),
    "gradient left behind after freezing again": Mistake(
        "gradients", "'on_task_end' leaves a gradient on", "grad to None", '''
def on_stream_start(self, learner, scenario):
    learner.backbone.requires_grad_(False)

def on_task_end(self, learner, task):
    for value in learner.backbone.parameters():
        value.requires_grad = True  # HERE
    images = learner.backbone.normalize(learner.images_of(task.train[:4]))
    F.cross_entropy(learner(images), learner.labels_of(task.train[:4])).backward()
    learner.backbone.requires_grad_(False)
'''),
    "head index wrong: new classes first": Mistake(
        "head", "the columns of the head are mixed up", "column c of the logits is stream label c", '''
def predict(self, learner, batch):
    features = learner.encode(batch)
    groups = [group(features) for group in reversed(learner.head.groups)]
    return torch.cat(groups, dim=1)  # HERE
'''),
    "head index wrong: only the current task's columns": Mistake(
        "head", "'predict' returns a tensor of shape", "learner.seen columns", '''
def predict(self, learner, batch):
    logits = learner.head(learner.encode(batch))
    return logits[:, -2:]  # HERE
'''),
    "head index wrong: a group for each task": Mistake(
        "head", "a domain-incremental stream ends with IndexError", "index by label", '''
def loss(self, learner, step):
    newest = learner.head.groups[learner.task.index].weight  # HERE
    return 0.01 * newest.square().mean()
'''),
    "wrong device: named in the source": Mistake(
        "device", "names a device", "batch.labels.device", '''
def loss(self, learner, step):
    if torch.cuda.is_available():
        return step.logits.to("cuda").square().mean()  # HERE
    return step.logits.square().mean()
'''),
    "wrong device: a tensor that stays on the CPU": Mistake(
        "device", "'loss' mixes a tensor of its own on the CPU", "device=batch.labels.device", '''
def loss(self, learner, step):
    weights = torch.ones(step.logits.shape[1])
    return 0.01 * (weights * step.logits).square().mean()  # HERE
'''),
    "returns a float": Mistake(
        "loss", "'loss' returns float", "without .item()", '''
def loss(self, learner, step):
    return 0.1 * step.logits.square().mean().item()  # HERE
'''),
    "returns a vector": Mistake(
        "loss", "'loss' returns a tensor of shape", ".mean()", '''
def loss(self, learner, step):
    return 0.1 * step.logits.square().mean(dim=1)  # HERE
'''),
    "changes the trainer's loader": Mistake(
        "loaders", "'on_train_start' changes the trainer's loader", "select_indices", '''
def on_train_start(self, trainer, pl_module):
    table, labels = pl_module.scenario.table, pl_module.scenario.labels
    mine = BatchLoader(table, labels, pl_module.task.train, 4)
    trainer.fit_loop._data_source.instance = mine  # HERE
    trainer.fit_loop.setup_data()
'''),
    "goes through the trainer's loader": Mistake(
        "loaders", "'on_train_epoch_start' changes the trainer's loader", "BatchLoader of your own", '''
def on_train_epoch_start(self, trainer, pl_module):
    for batch in trainer.train_dataloader:  # HERE
        assert len(batch)
'''),
    "changes the trainer's optimizer": Mistake(
        "loaders", "'on_train_start' changes the trainer's optimizer", "on_task_start", '''
def on_train_start(self, trainer, pl_module):
    (optimizer,) = trainer.optimizers
    optimizer.add_param_group({"params": [nn.Parameter(torch.ones(()))]})  # HERE
'''),
    "hook never removed": Mistake(
        "leftovers", "the same hook is registered 3 times", "handle.remove()", '''
traits = Traits(requires=("vit",))

def on_task_start(self, learner, task):
    learner.backbone.model.norm.register_forward_hook(self.look)  # HERE

def look(self, module, inputs, output):
    self._last = output.detach()
'''),
    "gradient mode left off": Mistake(
        "leftovers", "changes the gradient mode", "torch.no_grad()", '''
def on_task_end(self, learner, task):
    torch.set_grad_enabled(False)  # HERE
    learner.features_of(task.train)
'''),
    "patches a function of torch": Mistake(
        "leftovers", "functional.cross_entropy has been replaced", "use a hook", '''
def on_stream_start(self, learner, scenario):
    plain = F.cross_entropy
    F.cross_entropy = lambda *given, **words: plain(*given, **words)  # HERE
'''),
    "state in the class": Mistake(
        "leftovers", "the class's own attribute 'seen' has changed", "self.seen", '''
seen: list = []  # HERE

def on_task_end(self, learner, task):
    self.seen.append(task.index)
'''),
    "does not depend on the seed": Mistake(
        "deterministic", "does not depend on the seed", "learner.generator", '''
def transform_batch(self, learner, batch):
    draws = np.random.default_rng()  # HERE
    return batch.with_images(torch.from_numpy(draws.integers(0, 255, batch.images.shape, dtype=np.uint8)))
'''),
    "needed for prediction and not saved": Mistake(
        "saves", "predictions differ after saving and loading", "state_dict()", '''
def on_stream_start(self, learner, scenario):
    self._means = torch.zeros(len(scenario.classes), learner.backbone.width)

def on_task_end(self, learner, task):
    features, labels = learner.features_of(task.train), learner.labels_of(task.train)
    for label in task.classes:
        self._means[label] = features[labels == label].mean(dim=0)

def predict(self, learner, batch):
    means = self._means[: learner.head.classes].to(batch.labels.device)
    return -torch.cdist(learner.encode(batch), means)

def state_dict(self):  # HERE
    return {}
''', also=frozenset({"resumes"})),
    "state that cannot be read back": Mistake(
        "saves", "state_dict()['seen'] is of type set", "lists and dicts", '''
def state_dict(self):  # HERE
    return {"seen": {1, 2}}
'''),
    "keeps what it does not declare": Mistake(
        "memory", "state_dict() grows by", "traits.memory", '''
def __init__(self) -> None:
    super().__init__()
    self.kept = []

def on_task_end(self, learner, task):
    self.kept.append(learner.images_of(task.train))

def state_dict(self):  # HERE
    return {"kept": self.kept}

def load_state_dict(self, state_dict):
    self.kept = state_dict["kept"]
'''),
    "answers by the statistics of the batch": Mistake(
        "prediction", "change with the order or the other samples", "each sample on its own", '''
def predict(self, learner, batch):
    logits = learner.head(learner.encode(batch))
    return logits - logits.mean(dim=0)  # HERE
'''),
    "a ViT is needed and not declared": Mistake(
        "requires", "does not declare that it needs one: on a ResNet it ends with AttributeError",
        'requires=("vit",)', '''
def loss(self, learner, step):
    return 0.01 * learner.backbone.model.blocks[0].norm1.weight.square().mean()  # HERE
'''),
    "a ViT is declared and not needed": Mistake(
        "requires", "declares that it needs a ViT, but also trains a ResNet", 'take "vit" out of', '''
traits = Traits(requires=("vit",))  # HERE

def loss(self, learner, step):
    return 0.01 * step.logits.square().mean()
'''),
    "CLIP is declared and not needed": Mistake(
        "requires", "declares that it needs CLIP, but also trains a plain ViT", 'take "clip" out of', '''
traits = Traits(requires=("clip",))  # HERE

def loss(self, learner, step):
    return 0.01 * step.logits.square().mean()
'''),
    "CLIP is needed and not declared": Mistake(
        "requires", "needs a CLIP backbone", 'requires=("clip",)', '''
def on_stream_start(self, learner, scenario):
    from clsuite.backbones.clip import clip_of

    clip_of(learner.backbone, "the method")  # HERE
'''),
    "trains before the task and counts nothing": Mistake(
        "counts", "'before_task_training' takes", "learner.count_gradients(len(batch))", '''
def before_task_training(self, learner, task):
    optimizer = torch.optim.SGD(learner.parameters(), lr=0.01)
    for batch in learner.batches_of(task.train):
        F.cross_entropy(learner.step_of(batch).logits, batch.labels).backward()
        optimizer.step()  # HERE
        optimizer.zero_grad()
'''),
    "works on prompts and does not declare it": Mistake(
        "requires", "it works on 'prompts' of another plugin", 'works_on=("prompts",)', '''
def on_task_end(self, learner, task):
    if task.index > 5:
        learner.parameters_of("prompts")  # HERE
'''),
    "the classification loss is a float": Mistake(
        "loss", "'classification' returns float", "without .item()", '''
def classification(self, learner, step):
    return F.cross_entropy(step.logits.float(), step.batch.labels).item()  # HERE
'''),
    "in-place change of an update": Mistake(
        "batch", "'transform_update' writes into updates['head.groups.0.weight'] in place", "clone()", '''
def transform_update(self, learner, updates):
    update = updates["head.groups.0.weight"]
    update.mul_(0.5)  # HERE
    return {"head.groups.0.weight": update}
'''),
    "in-place change of the images": Mistake(
        "batch", "'transform_images' writes into images in place", "clone()", '''
def transform_images(self, learner, images):
    images[:, :, :4] = 0  # HERE
    return images
'''),
    "images that hang on their batch": Mistake(
        "prediction", "change with the order or the other samples", "each sample on its own", '''
def transform_images(self, learner, images):
    return images - images.mean(dim=0)  # HERE
'''),
    "reads the labels of the test batch": Mistake(
        "prediction", "without the labels and indices of the test batch", "only the images of the batch", '''
def predict(self, learner, batch):
    logits = learner.head(learner.encode(batch))
    known = (batch.labels >= 0) & (batch.labels < logits.shape[1])  # HERE
    right = F.one_hot(batch.labels.clamp(0, logits.shape[1] - 1), logits.shape[1])
    return logits + 100 * right * known[:, None]
'''),
    "reads the indices of the test batch": Mistake(
        "prediction", "without the labels and indices of the test batch", "only the images of the batch", '''
def predict(self, learner, batch):
    logits = learner.head(learner.encode(batch))
    place = batch.indices.clamp(min=0) % logits.shape[1]  # HERE
    return logits + 100 * F.one_hot(place, logits.shape[1])
'''),
    "the plan is a dict": Mistake(
        "trains", "'plan_training' returns dict and not a plan", "plan.with_options(", '''
def plan_training(self, learner, task, plan):
    return {"epochs": 2}  # HERE
'''),
    "parameter groups are parameters": Mistake(
        "parameters", "'parameter_groups' returns list and not a list of dicts", '{"params": ', '''
def parameter_groups(self, learner):
    return list(learner.head.parameters())  # HERE
'''),
    "a group has a parameter that the learner does not know": Mistake(
        "parameters", "'parameter_groups' returns a parameter that the learner does not know", "register_plugin", '''
def on_task_start(self, learner, task):
    self._own = [[nn.Parameter(torch.ones(()))]]

def parameter_groups(self, learner):
    return [{"params": [*learner.head.parameters(), *self._own[0]]}]  # HERE
'''),
    "images of another shape": Mistake(
        "batch", "'transform_images' returns a tensor of shape", "the same shape", '''
def transform_images(self, learner, images):
    return images[:, :, 1:]  # HERE
'''),
    "an update of another shape": Mistake(
        "batch", "'transform_update' returns for 'head.groups.0.weight' a tensor of shape", "by name", '''
def transform_update(self, learner, updates):
    return {"head.groups.0.weight": updates["head.groups.0.weight"].T}  # HERE
'''),
    "an update of an unknown weight": Mistake(
        "batch", "'transform_update' returns 'head.weight', which is no updated weight", "by name", '''
def transform_update(self, learner, updates):
    return {"head.weight": updates["head.groups.0.weight"]}  # HERE
'''),
    "an update that is a tensor": Mistake(
        "batch", "'transform_update' returns Tensor and not updates", "by name", '''
def transform_update(self, learner, updates):
    return updates["head.groups.0.weight"]  # HERE
'''),
    **{
        f"wrong device: in {hook}": Mistake(
            "device", f"'{hook}' mixes a tensor of its own on the CPU", fix, body,
        )
        for hook, fix, body in (
            ("classification", "device=batch.labels.device", '''
def classification(self, learner, step):
    margins = torch.zeros(step.logits.shape[1])
    logits = step.logits + margins  # HERE
    return F.cross_entropy(logits.float(), step.batch.labels)
'''),
            ("transform_images", "device=images.device", '''
def transform_images(self, learner, images):
    frame = torch.zeros(images.shape[1:])
    return images + frame  # HERE
'''),
            ("on_before_forward", "device=batch.labels.device", '''
def on_before_forward(self, learner, batch):
    shift = torch.zeros(batch.images.shape[1:])
    self._sum = (batch.images + shift).sum()  # HERE
'''),
            ("transform_update", "device=update.device", '''
def transform_update(self, learner, updates):
    name, update = next(iter(updates.items()))
    mask = torch.ones(update.shape)
    return {name: update * mask}  # HERE
'''),
            ("before_task_training", "device=learner.device", '''
def before_task_training(self, learner, task):
    for batch in learner.batches_of(task.train):
        step = learner.step_of(batch)
        weights = torch.ones(len(batch))
        value = F.cross_entropy(step.logits.float(), batch.labels, reduction="none") * weights  # HERE
        value.mean().backward()
        learner.count_gradients(len(batch))
'''),
        )
    },
}  # fmt: skip

SOUND = (
    HEAD
    + """    traits = Traits(requires=("vit",), memory=("weights", "logits"))

    def on_stream_start(self, learner, scenario):
        self.kept, self.answers, self.handle = {}, torch.zeros(0), None

    def on_task_start(self, learner, task):
        generator = learner.generator("method")
        self.noise = torch.randn(3, generator=generator, device=generator.device)
        self.handle = learner.backbone.model.norm.register_forward_hook(self.look)

    def look(self, module, inputs, output):
        return None

    def transform_batch(self, learner, batch):
        images = batch.images.clone()
        images[:, :, 0] = 0
        return batch.with_images(images)

    def loss(self, learner, step):
        scale = 0.5 if step.logits.device.type == "cuda" else 1.0
        own = step.logits.clone()
        own[:, 0] = 0
        return 0.01 * scale * own.square().mean() * self.noise.to(own.device).mean()

    def on_task_end(self, learner, task):
        self.handle.remove()
        self.kept = {name: value.detach().clone() for name, value in learner.head.named_parameters()}
        for value in learner.head.parameters():
            value.requires_grad_(False)
        with torch.no_grad():
            self.answers = torch.cat([self.answers, learner.head(learner.features_of(task.train))[:, :2].cpu()])
        learner.head.requires_grad_(True)

    def stored_bytes(self):
        return {
            "weights": sum(4 * value.numel() for value in self.kept.values()),
            "logits": 4 * self.answers.numel(),
        }

    def state_dict(self):
        return {"kept": self.kept, "answers": self.answers}

    def load_state_dict(self, state_dict):
        self.kept, self.answers = state_dict["kept"], state_dict["answers"]
"""
)
