"""The other tabs, two users at once, and how it all looks: the long forms."""

from __future__ import annotations

import json
import re
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect
from scipy.stats import binomtest

from magical_hub import MagicalPipeline, train
from magical_hub.data import package_dataset
from magical_hub.seeds import image_seed

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def trained(tiny_config, tmp_path_factory) -> Path:
    """A RUN."""
    run = tmp_path_factory.mktemp("trained") / "run"
    train(tiny_config(run, max_steps=2))
    return run


@pytest.fixture(scope="session")
def packages(tmp_path_factory) -> Path:
    """A folder of forty packages of 64 px."""
    folder = tmp_path_factory.mktemp("packages")
    for number, row in enumerate(package_dataset(40, 64)):
        row["image"].save(folder / f"{number:03d}.png")
    return folder


def test_two_users_at_once_do_not_mix(visit, defect_folder):
    users = {5: visit(), 6: visit()}
    for seed, user in users.items():
        user.fill("Number of images", 3)
        user.fill("Seed", seed)
    for user in users.values():
        user.press("Generate")
    pipe = MagicalPipeline.from_pretrained(defect_folder)
    for seed, user in users.items():
        made = pipe(seeds=[image_seed(seed, number) for number in range(3)], defects={})
        for number in range(3):
            user.shows(number + 1, made.images[number])
    users[6].page.get_by_alt_text("The chosen image").click()
    users[6].says("scratch: ")
    users[5].page.get_by_role("button", name="Thumbnail 2 of").click()
    users[5].says(f"Seed {image_seed(5, 1)}")
    assert users[5].page.get_by_text("scratch: ").count() == 0


def test_a_defect_by_the_keyboard_and_taken_away_again(visit, defect_folder):
    user = visit()
    user.fill("Number of images", 1)
    user.press("Generate")
    user.says("Seed ")
    pipe = MagicalPipeline.from_pretrained(defect_folder)
    bare = pipe(seeds=[image_seed(0, 0)], defects={}).images[0]
    user.shows(1, bare)
    user.fill("Row", 2)
    user.fill("Column", 1)
    user.page.get_by_role("button", name="Put it there").press("Enter")
    user.says("scratch: ")
    wanted = pipe(seeds=[image_seed(0, 0)], defects={(1, 0): "scratch"}).images[0]
    user.shows(1, wanted)
    user.page.get_by_label("Defect to put where you click").click()
    user.page.get_by_role("option", name="none").click()
    user.press("Put it there")
    expect(user.page.get_by_text("scratch: ")).to_have_count(0)
    user.shows(1, bare)
    user.fill("Row", 9)
    user.press("Put it there")
    user.says("there is no sub-region (8, 0)")


def test_walk(visit):
    user = visit()
    page = user.page
    page.get_by_role("button", name="Walk between two seeds").click()
    user.fill("From seed", 3)
    user.fill("To seed", 4)
    user.fill("Frames", 5)
    user.press("Walk")
    frame = page.get_by_alt_text("One image of the walk")
    first = frame.get_attribute("src")
    page.get_by_label("number input for Frame", exact=True).fill("5")
    page.get_by_label("number input for Frame", exact=True).press("Enter")
    expect(frame).not_to_have_attribute("src", first or "")


def test_which_is_real(visit, trained):
    user = visit()
    page = user.page
    user.turn_to("Compare")
    user.press("Show the pairs")
    user.says("there is nothing to compare with")
    user.fill("Checkpoint to compare", trained)
    user.fill("Pairs", 4)
    user.press("Show the pairs")
    pairs = 2  # so many images are held out
    user.says(f"No answers yet. {pairs} pairs to go.")
    for number in range(pairs):
        user.press("The left one is real")
        user.says(re.compile(rf"of {number + 1} right"))
    right = int(re.match(r"\d+", page.locator("#score").inner_text())[0])
    interval = binomtest(right, pairs).proportion_ci(0.95, method="wilson")
    user.says(f"{right} of {pairs} right: {right / pairs:.0%} (95%: {interval.low:.0%} to {interval.high:.0%})")
    expect(page.get_by_role("button", name="The left one is real")).to_be_disabled()
    # generated, nearest, generated, nearest
    expect(page.get_by_label("Thumbnail 1 of 4").locator("visible=true")).to_be_visible()
    expect(page.get_by_label("Thumbnail 1 of 2").locator("visible=true")).to_be_visible()
    user.says(re.compile(r"^[01]\.\d\d .*png"))


def test_report(visit, trained):
    user = visit()
    page = user.page
    user.turn_to("Report")
    user.fill("Report to open", trained)
    user.press("Open")
    user.says("report.json is missing: give the folder that magical-hub evaluate wrote")
    page.get_by_role("button", name="Make a new report").click()
    user.fill("Checkpoint to evaluate", trained)
    user.fill("Images to evaluate", 10_000)  # more than are made before "Cancel" is pressed
    user.press("Evaluate")
    expect(page.get_by_role("progressbar").first).to_be_visible()
    user.says(re.compile(r"(Generating|Reading images): +\d+%"))
    user.press("Cancel")
    user.says("stopped")
    assert not (trained / "evaluation" / "report.json").exists()
    assert [path.name for path in (trained / "evaluation").glob(".scratch-*")] == []
    user.fill("Images to evaluate", 10)
    user.press("Evaluate")
    report = page.frame_locator("iframe[title=Report]")
    report.get_by_role("heading", name="Evaluation of").wait_for(timeout=180_000)
    written = json.loads((trained / "evaluation" / "report.json").read_text())
    user.says(written["statement"])
    for section in written["sections"].values():
        expect(page.get_by_role("listitem").filter(has_text=section["question"])).to_contain_text(section["statement"])
    user.page.set_viewport_size({"width": 390, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth + 1")
    assert user.strays == []


def test_look_train_stop_and_resume(visit, packages, tmp_path):
    user = visit()
    page = user.page
    user.turn_to("Train")
    run = tmp_path / "run"
    user.fill("Images", tmp_path / "nowhere")
    user.press("Look at the images")
    user.says(f"there is no folder {tmp_path / 'nowhere'}")
    user.fill("Images", packages)
    user.fill("RUN", run)
    user.press("Look at the images")
    plan = page.locator("#plan textarea")
    expect(plan).to_have_value(re.compile(r"40 images.*2 x 2 sub-regions of 32 x 32 px.*of memory", re.S))
    expect(plan).to_have_value(re.compile("warning: 40 images are few"))
    expect(page.get_by_alt_text("The first of the images")).to_be_visible()
    assert not run.exists()
    user.fill("Steps", 100_000)  # more than are done before "Stop" is pressed
    user.press("Start")
    user.says(re.compile(r"Training: +\d+%.*[1-9]\d*/100000"))
    user.press("Start")
    user.says("is being written already")
    user.press("Stop")
    user.says("stopped by SIGTERM at step")
    assert [*(run / "checkpoints").glob("step-*")] and not (run / "model_index.json").exists()
    user.fill("Minutes at most", 0.05)
    user.press("Resume RUN")
    user.says(re.compile(r"\d+ steps done in"))
    expect(page.get_by_alt_text("The figures of training")).to_be_visible()
    expect(page.get_by_alt_text("Generated images of fixed seeds")).to_be_visible()
    MagicalPipeline.from_pretrained(run)


def test_uploads(visit, packages, tmp_path):
    user = visit()
    user.turn_to("Train")
    (tmp_path / "notes.txt").write_text("no image")
    upload = user.page.locator("#upload input[type=file]")
    upload.set_input_files([tmp_path / "notes.txt"])
    images = user.page.get_by_role("textbox", name=re.compile("^Images"))
    expect(images).to_have_value(re.compile("upload-"))
    user.press("Look at the images")
    user.says("holds no images: put png, jpg")


def test_a_training_ends_with_the_page(visit, serve, defect_folder, packages, tmp_path):
    """And leaves a checkpoint to resume from."""
    run = tmp_path / "run"
    with serve(defect_folder, tmp_path) as (address, server):
        user = visit(address)
        user.turn_to("Train")
        user.fill("Images", packages)
        user.fill("RUN", run)
        user.press("Start")
        user.says(re.compile(r"Training: +\d+%.*[1-9]\d*/\d+"))
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=120)
    assert [*(run / "checkpoints").glob("step-*")]
    steps = (run / "checkpoints").stat().st_mtime_ns
    time.sleep(3)
    assert (run / "checkpoints").stat().st_mtime_ns == steps


def test_the_space_shows_one_checkpoint_and_nothing_of_the_machine(visit, serve, repo, defect_folder, tmp_path):
    with serve(defect_folder, tmp_path, repo / "examples" / "space" / "app.py") as (address, _):
        user = visit(address, tab=None)
        user.press("Generate")
        user.says("Seed ")
        assert user.page.get_by_role("tab").count() == 0
        assert user.page.get_by_label("Checkpoint").locator("visible=true").count() == 0
        assert user.strays == []


def test_a_taken_port_is_one_line(run_command, defect_folder):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        ran = run_command("app", "--checkpoint", defect_folder, "--port", other.getsockname()[1], "--no-browser")
    assert ran.returncode == 2
    assert re.search(r"^error: the page cannot listen on 127.0.0.1, .* another --port or --host$", ran.stderr, re.M)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_every_tab_fits_and_can_be_read(visit, trained, packages, scheme, width, tmp_path_factory):
    """The pictures lie in pytest's folder, to be looked at."""
    user: Any = visit(color_scheme=scheme, viewport={"width": width, "height": 900})
    page, folder = user.page, tmp_path_factory.getbasetemp() / "screens"
    folder.mkdir(exist_ok=True)
    user.press("Generate")
    page.get_by_alt_text("The chosen image").click()
    user.says("scratch: ")
    for tab in ("Paint", "Generate", "Train", "Compare", "Report"):
        user.turn_to(tab)
        if tab == "Paint":
            user.says("pixels changed")
        if tab == "Compare":
            user.fill("Checkpoint to compare", trained)
            user.press("Show the pairs")
            user.says("pairs to go")
        if tab == "Train":
            user.fill("Images", packages)
            user.press("Look at the images")
            expect(page.locator("#plan textarea")).to_have_value(re.compile("40 images"))
        page.wait_for_timeout(500)
        page.screenshot(path=folder / f"{tab}-{scheme}-{width}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth + 1"), tab
        ink, paper = (
            page.evaluate(f"getComputedStyle(document.body).{name}.match(/\\d+/g).slice(0, 3).map(Number)")
            for name in ("color", "backgroundColor")
        )
        assert (sum(paper) > sum(ink)) == (scheme == "light") and abs(sum(ink) - sum(paper)) > 450
        nameless = page.locator("button:visible, input:visible, textarea:visible").evaluate_all(
            "all => all.filter(it => !(it.getAttribute('aria-label') || it.innerText || it.labels?.length "
            "|| it.title || it.querySelector('img[alt]'))).map(it => it.outerHTML.slice(0, 200))"
        )
        assert nameless == [], tab
    assert user.strays == [] and user.complaints == []
