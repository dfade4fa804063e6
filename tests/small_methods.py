"""Registered plugins and the arguments that make them small enough for tests; a new plugin gets its line here."""

from __future__ import annotations

from typing import Any

SMALL: dict[str, dict[str, Any]] = {
    "acil": {"projection": 200},
    "aper": {"size": 4},
    "backdoor": {"networks": {"omniglot_vit": "bundled"}},
    "bic": {"capacity": 22, "steps": 5},
    "block_expansion": {"blocks": 1},
    "cl_lora": {"rank": 2},
    "classifier_alignment": {"samples": 16},
    "coda_prompt": {"components": 9, "length": 2, "blocks": "all"},
    "continual_lora": {"regime": "ortho", "rank": 2},
    "ds_al": {"projection": 200, "solver": "sums"},
    "dual_prompt": {"general_length": 2, "expert_length": 2, "general_blocks": "0", "expert_blocks": "1"},
    "ease": {"size": 4},
    "first_session": {"size": 4},
    "fly_cl": {"projection": 300, "least_ridge": 2},
    "foster": {"capacity": 18},
    "fpf": {"steps": 5},
    "g_acil": {"projection": 60, "solver": "sums", "weights": "classes"},
    "gem": {"capacity": 12},
    "gss": {"capacity": 12, "comparisons": 2, "gradients": "head"},
    "hide": {"blocks": "all", "centroids": 2, "samples": 16, "epochs": 2, "task_samples": 16, "task_epochs": 5},
    "hide_pet": {"blocks": "all", "size": 2, "centroids": 2, "samples": 16, "epochs": 2, "task_samples": 16},
    "icarl": {"capacity": 18},
    "inflora": {"rank": 2},
    "keeplora": {"rank": 2},
    "kfpf": {"steps": 5, "alpha": 0.5},
    "klda": {"projection": 60, "members": 2},
    "l2m": {"size": 2, "pool": 4},
    "l2p": {"size": 2, "pool": 4, "top_k": 2},
    "lae": {"blocks": "all", "frozen_epochs": 0, "decay": 0.9},
    "lucir": {"capacity": 18},
    "mir": {"capacity": 18, "batch_size": 2, "candidates": 6},
    "moder": {"epochs": 2},
    "moe_adapters": {"experts": 3, "size": 4, "code": 8, "code_steps": 5},
    "moe_lora": {"rank": 4, "experts": 2},
    "mos": {"size": 4, "samples": 16, "align_epochs": 3},
    "randumb": {"projection": 300, "flip": True},
    "ranpac": {"projection": 300},
    "rapf": {"draws": 4},
    "rsiat": {"size": 4, "samples": 16, "align_epochs": 5, "code": 8, "hidden": 8},
    "rwalk": {"interval": 2},
    "s_pet": {"size": 2},
    "saft": {"share": 0.01, "rescore": "task"},
    "sd_lora": {"rank": 2, "boundary": "carry", "drop_below": 0.001},
    "selective_lora": {"rank": 2, "free_epochs": 0},
    "sema": {"size": 4, "code": 8, "threshold": 1.0, "descriptor_epochs": 2},
    "slca": {"samples": 16},
    "sparse_memory": {"slots": 20, "keys": 12, "heads": 2, "reads": 3, "key_size": 8},
    "spu": {"head_epochs": 1},
    "ssiat": {"size": 4, "samples": 16},
    "tail": {"size": 2},
    "tuna": {"size": 4, "samples": 16, "align_epochs": 3, "orthogonality": 0.1},
    "vpt_nsp2": {"eta": 1.0, "normalize": False},
    "wa": {"capacity": 18},
    "zscl": {"reference_batch": 8, "ensemble_every": 2},
}

NEEDS: dict[str, dict[str, Any]] = {
    "duct": {"head": "cosine"},
    "lucir": {"head": "cosine"},
    "rsiat": {"head": "cosine"},
    "ssiat": {"head": "cosine"},
    "tuna": {"head": "cosine"},
}
"""What methods refuse to learn without, of the training that their traits say."""

BEHIND: dict[str, dict[str, dict[str, Any]]] = {"pgp": {"pet": {"kind": "prompt", "size": 2}}}
"""Plugins that work on the parameters of another one, and what they stand behind in tests."""
