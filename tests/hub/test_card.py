"""The card of a published model: valid for the Hub, true to what is known, and its lines work."""

from __future__ import annotations

import io
import json
import re
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import markdown
import pytest
import yaml
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import model_index_to_eval_results

from magical_hub import MagicalPipeline, evaluate, push, train
from magical_hub.errors import ConfigError
from magical_hub.hub.card import is_ours


@pytest.fixture
def card_of(tmp_path: Path) -> Any:
    """The card that a dry run writes."""

    def card(subject: Any, **more: Any) -> ModelCard:
        folder = tmp_path / f"card-{len(list(tmp_path.iterdir()))}"
        push(subject, "acme/tiny", dry_run=folder, **more)
        return ModelCard.load(folder / "README.md")

    return card


def test_its_metadata_is_what_the_hub_expects(card_of, pipe, reports):
    card = card_of(pipe, report=reports["passed"], license="apache-2.0", dataset="acme/cells")
    data = card.data
    assert (data.library_name, data.pipeline_tag) == ("magical_hub", "unconditional-image-generation")
    assert data.license == "apache-2.0" and data.datasets == ["acme/cells"]
    assert "leakage-check-passed" in data.tags and "diffusers" in data.tags
    name, results = model_index_to_eval_results(yaml.safe_load(str(card).split("---")[1])["model-index"])
    assert name == "tiny"
    scores = {result.metric_type: result.metric_value for result in results}
    assert {*scores} == {*data.metrics} and {"kid", "frechet", "precision", "recall"} <= {*scores}
    assert {result.dataset_type for result in results} == {"acme/cells"}
    for key, value in scores.items():
        assert value == pytest.approx(reports["passed"].get_score(key), abs=1e-6)


def test_its_figures_are_those_of_the_report(card_of, pipe, reports):
    text = card_of(pipe, report=reports["passed"]).text
    report = reports["passed"]
    rows = {row.split(" | ")[0].strip("| "): row for row in text.splitlines() if row.startswith("| ")}
    assert (
        f"| {report.get_score('frechet'):.3g} | {report.get_score('frechet_floor'):.3g} |" in rows["Frechet distance"]
    )
    assert f"{report.get_score('seam_ratio_rows'):.2f}" in rows["between rows"]
    assert "features of means" in text and "35 generated images (seed 0)" in text
    assert report.sections["leakage"].statement in text
    assert "was not measured" not in text


def test_what_is_not_known_is_left_out(card_of, pipe, class_pipe):
    card = card_of(pipe, allow_unchecked=True)
    assert card.data.license is None and card.data.datasets is None and card.data.eval_results is None
    for words in ("## Figures", "## How it was trained", "## Usefulness", "None", "Classes (`class_labels=`)"):
        assert words not in card.text
    assert "How good it is was not measured" in card.text and "Not checked for copies" in card.text
    assert "Classes (`class_labels=`): `crack`, `good`, `void`." in card_of(class_pipe, allow_unchecked=True).text


def test_how_it_was_trained_is_read_from_the_run(card_of, tiny_config, tmp_path):
    train(tiny_config(tmp_path / "run", max_steps=2, lambda_f=0.0, seed=3))
    text = card_of(tmp_path / "run", allow_unchecked=True).text
    assert "| steps done | 2 |" in text and "| batch_size | 4 |" in text and "| seed | 3 |" in text
    assert "20 training images, 2 for validation during training, 2 held out for the evaluation." in text


def test_training_goes_on_from_the_hub(hub, tiny_config, tmp_path):
    train(tiny_config(tmp_path / "run", max_steps=1, lambda_f=0.0))
    push(tmp_path / "run", "acme/tiny", allow_unchecked=True, critic=True)
    train(tiny_config(tmp_path / "next", max_steps=1, lambda_f=0.0, init_from="acme/tiny"))
    assert hub.count("GET .*/resolve/.*critic/.*safetensors")
    with pytest.raises(ConfigError, match="init_from acme/tiny has networks of another shape"):
        train(tiny_config(tmp_path / "other", max_steps=1, latent_dim=8, lambda_f=0.0, init_from="acme/tiny"))


def test_its_lines_work(hub, pipe, reports):
    push(pipe, "acme/tiny", report=reports["passed"])
    card = ModelCard.load(hub.blobs.path(hub.model("acme/tiny").find("main").files["README.md"].sha256))
    blocks = re.findall(r"```python\n(.*?)```", card.text, re.DOTALL)
    assert len(blocks) == 3 and 'torch.hub.load("OWNER/magical-hub", "magical_pipeline", "acme/tiny")' in blocks[1]
    known: dict[str, Any] = {}
    with redirect_stdout(io.StringIO()):
        exec(f"{blocks[0]}\nimport datasets\n{blocks[2]}", known)
    assert len(known["images"]) == 8 and known["dataset"][0]["image"].size == (48, 32)
    import diffusers

    assert isinstance(diffusers.DiffusionPipeline.from_pretrained("acme/tiny"), MagicalPipeline)


def test_it_renders(card_of, pipe, reports):
    html = markdown.markdown(card_of(pipe, report=reports["passed"]).text, extensions=["tables", "fenced_code"])
    assert html.count("<table>") == 3 and "| ---" not in html and "<h2>Limits</h2>" in html
    assert '<img alt="Generated images" src="samples.png"' in html and "{{" not in html and "{%" not in html


def test_a_persons_hand_is_noticed(card_of, pipe):
    text = str(card_of(pipe, allow_unchecked=True))
    assert is_ours(text) and is_ours(text.replace("\n", "\r\n"))
    assert not is_ours(text.replace("Limits", "Bounds")) and not is_ours("# Mine\n") and not is_ours(text + "more\n")


def test_usefulness_and_weak_sections_are_told(card_of, class_pipe, small_network, tmp_path):
    """A report as it stands on the disk is enough."""
    made = class_pipe(num_images=4).images
    for part in ("a", "b"):
        (tmp_path / part).mkdir()
    for number, image in enumerate(made):
        image.save(tmp_path / ("a" if number % 2 else "b") / f"{number}.png")
    report = evaluate(
        class_pipe, str(tmp_path / "a"), str(tmp_path / "b"), num_images=4, network=small_network
    ).to_dict()
    section = {"question": "?", "verdict": "good", "statement": "It helps by +0.1.", "scores": {}, "details": {}}
    report["sections"] |= {"usefulness": section, "seams": {**section, "verdict": "weak", "statement": "Seen."}}
    (tmp_path / "report.json").write_text(json.dumps(report))
    text = card_of(class_pipe, report=tmp_path / "report.json", allow_unchecked=True).text
    assert "## Usefulness\n\nIt helps by +0.1." in text and "- Seams, weak: Seen." in text
    assert "leakage check could not be made" in text
