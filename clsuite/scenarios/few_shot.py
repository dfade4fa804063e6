"""Few-shot class-incremental streams."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clsuite.data.stable_random import stable_random
from clsuite.errors import UserError
from clsuite.scenarios.assemble import Source, assemble
from clsuite.scenarios.by_class import Groups
from clsuite.scenarios.order import find_order
from clsuite.scenarios.scenario import Rows, Scenario
from clsuite.scenarios.spec import FewShot


def build_few_shot(source: Source, spec: FewShot) -> Scenario:
    """A base session with all images, then sessions of few: Tao et al., "Few-shot class-incremental learning" (2020).

    Each later session has ``ways`` new classes with ``shots`` training images each. The test part is not changed. The
    shots of a class are the first of a permutation of its training images, which follows ``order_seed`` (by default the
    run's seed) and the class. The paper's code has fixed lists of images instead. Validation images are held out before
    the shots are drawn, so that each class has all its shots.

    Raises:
        UserError: If the other classes cannot be divided into sessions, or a class has fewer images than shots.
    """
    table = source.table
    order = find_order("class", table.classes, spec.order, source.order_seed)
    groups = Groups(order, session_sizes(len(order), spec))
    whole = source.parts()
    later = order[spec.base :]
    base = whole.train[~np.isin(table.labels[whole.train], later)]
    shots = [_shots(source, whole.train, int(label), spec.shots) for label in later]
    train = np.sort(np.concatenate([base, *shots]))
    return assemble(spec.kind, table, order, groups.named_parts(table, whole._replace(train=train)))


def session_sizes(classes: int, spec: FewShot) -> list[int]:
    """Number of classes of each session.

    Raises:
        UserError: If the classes after the base session cannot be divided into sessions.
    """
    rest = classes - spec.base
    if rest < spec.ways:
        raise UserError(
            f"scenario.base takes {spec.base} of {classes} classes: leave at least {spec.ways} (scenario.ways) for the "
            "sessions after it"
        )
    if rest % spec.ways:
        raise UserError(
            f"scenario.base takes {spec.base} of {classes} classes, and the other {rest} cannot be divided into "
            f"sessions of {spec.ways}: change scenario.base or scenario.ways"
        )
    return [spec.base, *[spec.ways] * (rest // spec.ways)]


def _shots(source: Source, trained: Rows, label: int, shots: int) -> NDArray[np.int64]:
    rows = trained[source.table.labels[trained] == label]
    if len(rows) < shots:
        raise UserError(
            f"scenario.shots is {shots}, but class '{source.table.classes[label]}' has {len(rows)} training images: "
            "ask for fewer"
        )
    return stable_random(source.order_seed, "shots", label).permutation(rows)[:shots]
