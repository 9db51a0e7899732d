"""The networks, and nothing but networks: generators and critics that save and load as Hugging Face models do."""

from magical_hub.models.critic import CriticOutput, MagicalCritic
from magical_hub.models.generator import MagicalGenerator

__all__ = ["CriticOutput", "MagicalCritic", "MagicalGenerator"]
