"""Parameter-efficient modules (PET) for vision transformers: LoRA, adapter, prefix, prompt, IA3, AdaptFormer, SSF.

They are attached to a network by hooks and do not change its own modules and parameter names, so that a module can be
disabled for a query pass, copied, averaged, merged into the weights and removed. Hugging Face's ``peft`` wraps linear
layers and treats timm's fused ``qkv`` as one layer: it cannot adapt query and value alone, has no adapter parallel to
the attention, and its prefix needs a model with past key values. Therefore clsuite has its own modules.
"""

from clsuite.peft.adapter import Adapter
from clsuite.peft.adaptformer import AdaptFormer
from clsuite.peft.base import PET, only
from clsuite.peft.blocks import block_list, choose_blocks, transformer_blocks
from clsuite.peft.build import PET_KINDS, PetKind, attach_module, attach_pet, attach_text_pet, build_pet
from clsuite.peft.decoupled import DecoupledLoRA
from clsuite.peft.domain_autoencoder import DomainAutoencoder, nearest_domain
from clsuite.peft.expert_lora import ExpertLoRA
from clsuite.peft.gated_lora import GatedLoRA
from clsuite.peft.ia3 import IA3
from clsuite.peft.lora import LoRA, LowRank
from clsuite.peft.mixture import AdapterMixture, Expert
from clsuite.peft.orthonormal_lora import SharedLoRA, WeightedLoRA
from clsuite.peft.partial_pass import first_blocks_once, left_after
from clsuite.peft.prefix import GivenPrefix, Prefix
from clsuite.peft.product_memory import ProductMemory
from clsuite.peft.prompt import Prompt, PromptInit, first_values
from clsuite.peft.prompt_moments import PromptMoments, prompt_moments
from clsuite.peft.query import FrozenQuery, RoutedByQuery
from clsuite.peft.reads import PrefixValues, PromptKeys, Read, reads_of
from clsuite.peft.route import MixedRoute, Route
from clsuite.peft.routed_experts import ExpertMixture, RoutedExperts
from clsuite.peft.ssf import SSF
from clsuite.peft.task_modules import TaskModules
from clsuite.peft.text_context import TextContext

__all__ = [
    "IA3",
    "PET",
    "PET_KINDS",
    "SSF",
    "AdaptFormer",
    "Adapter",
    "AdapterMixture",
    "DecoupledLoRA",
    "DomainAutoencoder",
    "Expert",
    "ExpertLoRA",
    "ExpertMixture",
    "FrozenQuery",
    "GatedLoRA",
    "GivenPrefix",
    "LoRA",
    "LowRank",
    "MixedRoute",
    "PetKind",
    "Prefix",
    "PrefixValues",
    "ProductMemory",
    "Prompt",
    "PromptInit",
    "PromptKeys",
    "PromptMoments",
    "Read",
    "Route",
    "RoutedByQuery",
    "RoutedExperts",
    "SharedLoRA",
    "TaskModules",
    "TextContext",
    "WeightedLoRA",
    "attach_module",
    "attach_pet",
    "attach_text_pet",
    "block_list",
    "build_pet",
    "choose_blocks",
    "first_blocks_once",
    "first_values",
    "left_after",
    "nearest_domain",
    "only",
    "prompt_moments",
    "reads_of",
    "transformer_blocks",
]
