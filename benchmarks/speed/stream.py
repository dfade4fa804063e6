"""Learns one class-incremental stream with a bare PyTorch loop, clsuite and Avalanche, side by side.

Run as ``python benchmarks/speed/stream.py --stream digits``. Every contestant learns the same images in the same order
of tasks, with the same network and first weights, batch size, epochs, threads, precision and optimizer (fused AdamW,
made anew for each task). They run one after another, each once, after a short warm-up. What differs in meaning:

* Evaluation. The bare loop and clsuite evaluate the tasks seen; clsuite also does so once before any training (that is
  in its total only). Avalanche evaluates the whole test stream after each experience, as its own examples do;
  ``--avalanche-eval seen`` cuts that to the tasks seen. The column `evaluated` counts the images. Only clsuite also
  records every prediction, class-incremental and task-aware.
* Order of batches. clsuite and the bare loop take the same batches; Avalanche's loader draws its own.
* Replay. Both keep 200 exemplars and add them to each batch of new images, as many as the batch has. clsuite keeps
  equally many of each class and draws anew, without replacement, for each batch; Avalanche keeps equally many of each
  experience and cycles through them. With a last, smaller batch clsuite adds fewer, Avalanche still a full one.
* Data. Avalanche gets one image at a time through ToTensor and Normalize in the main process, as its users do;
  ``--avalanche-data tensors`` hands it floats that are normalized beforehand, outside the measured time.
"""

from __future__ import annotations

import argparse
import functools
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from bare_loop import prepare_bare, warm_up
from clsuite_stream import prepare_clsuite
from measure import Learned, measure
from summary import AVALANCHE_REPLAY, BARE, FINETUNE, NAIVE, REPLAY, save, show
from workload import PRESETS, Preset, Workload, make_workload, training_options

from clsuite_plugins.finetune import Finetune
from clsuite_plugins.replay import Replay

METHODS = ("finetune", "replay")
EPOCHS, LEARNING_RATE = 5, 1e-4
"""With the pre-trained weights and these, clsuite's and Avalanche's replay reach the same accuracy on the digits."""
PRECISION_HELP = "the same for all, or auto: clsuite as it comes (bf16 where native), the others as they come (float32)"
Prepare = Callable[[], Callable[[], Learned]]


def main() -> None:
    """Read the command line, run the contestants, show and save the figures."""
    arguments = _parse()
    warnings.showwarning = lambda *_, **__: None
    torch.set_num_threads(arguments.threads)
    training = training_options(
        arguments.epochs, arguments.batch_size, arguments.learning_rate, arguments.precision, arguments.threads
    )
    preset = _preset(arguments)
    workload = make_workload(preset, training, arguments.seed, arguments.data_root, arguments.weights)
    contestants = _contestants(workload, arguments)
    warm_up(workload)
    outcomes = []
    for name, prepare in contestants.items():
        print(f"{name} ...", flush=True)
        outcomes.append(measure(name, prepare))
    trained = sum(len(task.train) for task in workload.tasks)
    size = f"{trained} training and {workload.test_images} test images of {preset.image_size} px"
    show(outcomes, f"{arguments.stream}: {preset.tasks} tasks, {size}, {arguments.epochs} epochs")
    if arguments.json:
        save(outcomes, _settings(arguments, preset), arguments.json)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="One stream, side by side: bare PyTorch, clsuite, Avalanche.")
    parser.add_argument("--stream", choices=sorted(PRESETS), required=True)
    parser.add_argument("--data-root", type=Path, help="folder that holds caltech101/train and caltech101/test")
    parser.add_argument("--weights", type=Path, help="file with the ViT-Ti weights; random ones without it")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--tasks", type=int, help="default: 5 for digits, 10 for caltech101")
    parser.add_argument("--train-per-class", type=int, help="default: all for digits, 30 for caltech101")
    parser.add_argument("--image-size", type=int, help="default: 64 for digits, 128 for caltech101")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=LEARNING_RATE)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", choices=("32", "bf16", "auto"), default="32", help=PRECISION_HELP)
    parser.add_argument("--only", type=_methods, default=METHODS, help="finetune (with the bare loop), replay, or both")
    parser.add_argument("--avalanche-eval", choices=("stream", "seen"), default="stream")
    parser.add_argument("--avalanche-data", choices=("transform", "tensors"), default="transform")
    parser.add_argument("--json", type=Path, help="file for the figures")
    return parser.parse_args()


def _methods(text: str) -> tuple[str, ...]:
    chosen = tuple(text.split(","))
    unknown = set(chosen) - set(METHODS)
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}; choose from {', '.join(METHODS)}")
    return chosen


def _preset(arguments: argparse.Namespace) -> Preset:
    """The preset with what the command line says otherwise."""
    preset = PRESETS[arguments.stream]
    if arguments.train_per_class is not None:
        dataset = preset.dataset.model_copy(update={"train_per_class": arguments.train_per_class})
        preset = replace(preset, dataset=dataset)
    return replace(preset, tasks=arguments.tasks or preset.tasks, image_size=arguments.image_size or preset.image_size)


def _contestants(workload: Workload, arguments: argparse.Namespace) -> dict[str, Prepare]:
    """The contestants by name, in the order in which they run."""
    from avalanche.training import Naive
    from avalanche.training import Replay as TheirReplay
    from avalanche_stream import prepare_avalanche

    avalanche = functools.partial(
        prepare_avalanche,
        workload,
        tensors=arguments.avalanche_data == "tensors",
        seen_only=arguments.avalanche_eval == "seen",
    )
    size = workload.memory_size
    contestants: dict[str, Prepare] = {}
    if "finetune" in arguments.only:
        contestants[BARE] = lambda: prepare_bare(workload)
        contestants[FINETUNE] = lambda: prepare_clsuite(workload, Finetune())
        contestants[NAIVE] = lambda: avalanche(Naive)
    if "replay" in arguments.only:
        contestants[REPLAY] = lambda: prepare_clsuite(workload, Replay(capacity=size, buffer="class_balanced"))
        contestants[AVALANCHE_REPLAY] = lambda: avalanche(TheirReplay, mem_size=size)
    return contestants


def _settings(arguments: argparse.Namespace, preset: Preset) -> dict[str, object]:
    """What was asked for, without paths."""
    settings = {name: value for name, value in vars(arguments).items() if name not in ("data_root", "json")}
    return settings | {
        "weights": arguments.weights.name if arguments.weights else "random",
        "tasks": preset.tasks,
        "image_size": preset.image_size,
        "train_per_class": preset.dataset.train_per_class,
    }


if __name__ == "__main__":
    main()
