"""torch.hub entry points: `torch.hub.load("OWNER/magical-hub", "magical_pipeline", "solar-cells-128")`."""

dependencies = [
    "torch",
    "diffusers",
    "scipy",
    "accelerate",
    "datasets",
    "huggingface_hub",
    "safetensors",
    "lazy_loader",
    "tenacity",
]

import magical_hub as _magical_hub  # noqa: E402 - torch.hub reads `dependencies` before it runs this file


def magical_pipeline(name: str = "solar-cells-128", **kwargs):
    """A pipeline that generates full images: `pipe(num_images=8).images`.

    name: a bundled checkpoint ("solar-cells-128"), a folder, or an id on the Hub. The rest goes to
    `MagicalPipeline.from_pretrained` (revision, dtype, token ...).
    """
    return _magical_hub.MagicalPipeline.from_pretrained(name, **kwargs)


def magical_generator(name: str = "solar-cells-128", **kwargs):
    """The network of a pipeline: `generator(latents, locations)` gives sub-regions. Arguments as magical_pipeline."""
    return magical_pipeline(name, **kwargs).generator


def magical_critic(name: str = "solar-cells-128", **kwargs):
    """The critic that a pipeline's generator was trained against, to train on. Arguments as magical_pipeline."""
    pipe = magical_pipeline(name, **kwargs)
    if pipe.critic is None:
        from magical_hub.errors import CheckpointError

        raise CheckpointError(f"{name} was saved without its critic: take a checkpoint that has one")
    return pipe.critic
