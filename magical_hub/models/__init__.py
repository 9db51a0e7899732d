"""The networks, and nothing but networks: generators and critics that save and load as Hugging Face models do."""

from magical_hub.models.critic import CriticOutput, MagicalCritic
from magical_hub.models.feature_critic import FeatureCritic, FrozenFeatures
from magical_hub.models.generator import MagicalGenerator
from magical_hub.models.seamless import SeamlessGenerator
from magical_hub.models.verifier import LabelVerifier, VerifierOutput

Generator = MagicalGenerator | SeamlessGenerator
"""One interface, the only one that the pipeline, the trainer and the evaluation use."""

__all__ = [
    "CriticOutput",
    "FeatureCritic",
    "FrozenFeatures",
    "Generator",
    "LabelVerifier",
    "MagicalCritic",
    "MagicalGenerator",
    "SeamlessGenerator",
    "VerifierOutput",
]
