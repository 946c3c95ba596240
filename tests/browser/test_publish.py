"""The book and the deck in a real browser, opened from files: nothing asks the network, all is seen, keys work.

The book is made up, but for one notebook that is executed at small sizes; the deck is the real talk, with stand-ins for
its figures.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest
from playwright.sync_api import Page

from lpsgld import batch
from lpsgld.publish import Copies, Moving, Recordings, build_book, build_deck, players
from tests.publish.made_up import png, write_book_sources, write_figure

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
STORY = "00_start_here"  # has formulas, sliders, saved figures, predictions and solutions


# ---- the book --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A book of two made-up chapters."""
    root = tmp_path_factory.mktemp("made-up")
    write_book_sources(root)
    return build_book(["01_one", "02_two"], root / "runs" / "laptop", root / "book", root / "notebooks").parent


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A book of one real notebook, executed at small sizes."""
    root = tmp_path_factory.mktemp("story")
    recordings = Recordings(root / "views")
    recordings.make(players.of_notebooks(ROOT / "notebooks", [STORY]))
    (result,) = batch.run_notebooks([STORY], "smoke", out=root / "run", export=Copies(recordings))
    assert result.status == "passed", result.reason
    return build_book([STORY], root / "run", root / "book", ROOT / "notebooks", recordings).parent


def check_page(page: Page) -> None:
    """Every picture has a text and pixels, every formula in sight a height, every local link a target."""
    pictures = page.evaluate("""async () => {
        const images = [...document.images];
        for (const image of images) image.loading = 'eager';
        await Promise.all(images.map(image => image.decode()));
        return images.map(image => [image.alt, image.naturalWidth]);
    }""")
    assert all(alt and width > 0 for alt, width in pictures), pictures
    heights = page.evaluate("""() => [...document.querySelectorAll('math')].filter(
        math => math.checkVisibility()).map(math => math.getBoundingClientRect().height)""")
    assert all(height > 5 for height in heights)
    targets = page.evaluate("() => [...document.querySelectorAll('a[href]')].map(a => a.href)")
    for target in targets:
        address, fragment = urldefrag(target)
        if address.startswith("file:"):
            path = Path(unquote(address.removeprefix("file://")))
            assert path.is_file(), f"dead link: {target}"
            assert not fragment or f'id="{fragment}"' in path.read_text("utf-8"), f"dead link: {target}"
        else:
            assert address.startswith("https://"), target


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_page_is_whole_offline_and_in_both_themes(book, story, window, theme):
    window.page.emulate_media(color_scheme=theme)
    for path in [*book.glob("*.html"), *story.glob("*.html")]:
        page = window.open(path)
        check_page(page)
        paper = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
        assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(22, 24, 29)"}[theme]
        shown = page.locator(".picture img.light, .picture img.dark").evaluate_all(
            "images => images.filter(image => image.offsetWidth > 0).map(image => image.className)"
        )
        assert set(shown) <= {theme}
        assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    window.check()


def test_the_real_notebook_shows_formulas_pictures_and_claims(story, window, screenshots):
    page = window.open(story / f"{STORY}.html")
    page.screenshot(path=screenshots / "book.png", full_page=True)
    assert page.locator("article math").count() >= 10
    assert page.locator("math", has_text="√").count() == 0  # a root is drawn, not written
    assert page.locator("msqrt").first.bounding_box()["width"] > 5
    assert page.locator("article .picture img.light").count() == 1  # saved, and not shown by a slider before
    assert page.locator("article .picture img.card").count() == 1  # of the slider, for whoever runs no script
    assert page.get_by_text("✓ the same at α = 0.0001").first.is_visible()
    window.check()


def test_the_slider_of_the_book_moves_and_its_keys_turn_no_page(story, window, screenshots):
    page = window.open(story / f"{STORY}.html")
    slider = page.get_by_role("slider", name="step size α")
    assert not page.locator(".player .picture").first.is_visible()
    slider.press("ArrowRight")
    assert slider.get_attribute("aria-valuetext") == "0.005" and page.url.endswith(f"{STORY}.html")
    assert page.locator(".numbers").inner_text().startswith("spread, 8 bits, naive = 1.124")
    page.screenshot(path=screenshots / "book-slider.png")
    window.check()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_html_copy_of_a_run_is_one_file_with_all_that_it_needs(story, window, tmp_path, screenshots, theme):
    """Alone in a folder, offline: formulas are MathML and the page follows the system's theme, as its pictures do."""
    window.page.emulate_media(color_scheme=theme)
    alone = tmp_path / "copy.html"
    alone.write_bytes((story.parent / "run" / f"{STORY}.html").read_bytes())
    page = window.open(alone)
    check_page(page)
    page.screenshot(path=screenshots / f"copy-{theme}.png", full_page=True)
    assert page.locator("article math").count() >= 10 and "$" not in page.locator("article > p").first.inner_text()
    paper = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(22, 24, 29)"}[theme]
    other = {"light": "dark", "dark": "light"}[theme]
    assert page.locator(f"article img.{theme}:visible").count() and not page.locator(f"img.{other}:visible").count()
    window.check()


def test_the_slider_of_the_html_copy_moves_in_place_of_its_stills(story, window, screenshots):
    page = window.open(story.parent / "run" / f"{STORY}.html")
    slider = page.get_by_role("slider", name="step size α")
    slider.press("Home")
    assert slider.get_attribute("aria-valuetext") == "5e-05"
    assert page.locator(".numbers").inner_text().startswith("spread, 8 bits, naive = 3.158")
    page.screenshot(path=screenshots / "copy-slider.png")
    player = page.locator(".player")
    assert player.count() == 1 and player.locator("img").count() == 1 and not player.locator("img:visible").count()
    window.check()


def test_the_theme_is_toggled_and_remembered(book, window):
    page = window.open(book / "01_one.html")
    light, dark = page.locator(".picture img.light"), page.locator(".picture img.dark")
    assert light.is_visible() and not dark.is_visible()
    page.get_by_role("button", name="Dark").click()
    assert dark.is_visible() and not light.is_visible()
    page = window.open(book / "02_two.html")
    assert page.get_by_role("button", name="Light").is_visible()
    window.check()


def test_code_and_solutions_open(book, window):
    page = window.open(book / "01_one.html")
    code, solution = page.locator("details.code pre").last, page.locator("details:not(.code) math").first
    assert not code.is_visible() and not solution.is_visible()
    page.get_by_text("Solution").click()
    assert solution.is_visible()
    page.get_by_role("button", name="Open all code").click()
    assert code.is_visible() and "show()" in code.inner_text()
    window.check()


def test_leafing_through_by_link_and_key(book, window):
    page = window.open(book / "index.html")
    page.locator(".chapters a").first.click()
    page.wait_for_url("**/01_one.html")
    page.keyboard.press("ArrowRight")
    page.wait_for_url("**/02_two.html")
    page.keyboard.press("ArrowLeft")
    page.wait_for_url("**/01_one.html")
    window.check()


def test_on_a_phone_the_contents_are_closed_and_nothing_sticks_out(story, window, screenshots):
    window.page.set_viewport_size({"width": 390, "height": 844})
    page = window.open(story / f"{STORY}.html")
    page.screenshot(path=screenshots / "book-phone.png")
    assert not page.locator(".contents ol").first.is_visible()
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")


# ---- the deck --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real talk, with stand-ins for its figures, two of them in frames."""
    root = tmp_path_factory.mktemp("talk")
    source = ROOT / "notebooks" / "slides.md"
    rows = {}
    for number, name in enumerate(re.findall(r"!\[\]\(([^ )]+)", source.read_text(encoding="utf-8"))):
        frames = [f"{name}-frame-1.png", f"{name}.png"] if number < 2 else []
        for file in frames or [f"{name}.png"]:
            (root / file).write_bytes(png("white", file, size=(1920, 1080)))
            (root / file.replace(".png", "-dark.png")).write_bytes(png("black", file, size=(1920, 1080)))
        rows[name] = {"title": name, "caption": "A caption of usual length. " * 6, "alt": f"Alt of {name}"}
        rows[name] |= {"frames": frames} if frames else {}
    (root / "manifest.json").write_text(json.dumps({"figures": rows}), encoding="utf-8")
    return build_deck(source, root, root / "slides.html")


def place(page: Page) -> str:
    return page.locator("#place").inner_text()


@pytest.mark.parametrize("size", [(1920, 1080), (1024, 768)])
def test_every_slide_fits_its_face(talk, window, screenshots, size):
    """Nothing is cut off or runs into the next block, and every picture is large: 60 % of the slide's height."""
    window.page.set_viewport_size({"width": size[0], "height": size[1]})
    page = window.open(talk)
    for number in range(1, page.locator(".slide").count() + 1):
        page.evaluate(f"() => show({number - 1}, Infinity)")
        face = page.locator(".slide.now .face")
        body = face.locator(".body")
        for box in (face, body):
            width, height = box.evaluate("e => [e.scrollWidth - e.clientWidth, e.scrollHeight - e.clientHeight]")
            assert width <= 1 and height <= 1, f"slide {number} is too full by {width} x {height} pixels"
        for picture in page.locator(".slide.now .frame.now img.light").all():
            assert picture.bounding_box()["height"] > 0.6 * face.bounding_box()["height"], f"slide {number}"
        if size == (1920, 1080):
            page.screenshot(path=screenshots / f"slide-{number:02d}.png")
    check_page(page)
    window.check()


def test_keys_move_the_deck_through_slides_and_frames(talk, window):
    page = window.open(talk)
    assert place(page) == "1 / 20"
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    assert place(page) == "5 / 20"
    first, last = page.locator(".slide.now .frame").all()
    assert first.is_visible() and not last.is_visible()
    page.keyboard.press(" ")
    assert place(page) == "5 / 20" and last.is_visible() and not first.is_visible()
    page.keyboard.press("PageDown")
    assert place(page) == "6 / 20" and page.url.endswith("#6")
    page.keyboard.press("ArrowLeft")
    assert place(page) == "5 / 20" and last.is_visible()
    page.keyboard.press("End")
    assert place(page) == "20 / 20"
    page.keyboard.press("ArrowRight")
    assert place(page) == "20 / 20"
    page.reload()
    assert place(page) == "20 / 20"
    page.keyboard.press("Home")
    assert place(page) == "1 / 20"
    window.check()


def test_notes_are_below_the_slide_and_in_the_speakers_window(talk, window):
    page = window.open(talk)
    notes = page.locator(".slide.now .notes")
    assert not notes.is_visible()
    page.keyboard.press("n")
    assert notes.is_visible() and "Welcome." in notes.inner_text()
    slide, below = page.locator(".slide.now .face").bounding_box(), notes.bounding_box()
    assert slide["y"] + slide["height"] <= below["y"] + 1
    page.keyboard.press("n")
    assert not notes.is_visible()
    with page.expect_popup() as opened:
        page.keyboard.press("s")
    speaker = opened.value
    assert "Welcome." in speaker.locator("#notes").inner_text()
    speaker.keyboard.press("ArrowRight")  # its keys move the deck
    assert place(page) == "2 / 20" == speaker.locator("#place").inner_text()
    assert speaker.locator("#following").inner_text().startswith("Next: Many networks")
    assert speaker.locator("#plan").inner_text() == "planned: 2 of 30 minutes after this slide"
    for _ in range(3):
        speaker.keyboard.press("ArrowRight")
    assert place(page) == "5 / 20" and speaker.locator("#following").inner_text().startswith("Next: step 2")
    shown = speaker.locator("#following img.light")
    assert shown.count() == 1 and shown.get_attribute("alt") == "Alt of 00-strip"
    assert shown.bounding_box()["height"] > 100
    assert re.fullmatch(r"\d\d:\d\d", speaker.locator("#clock").inner_text())
    window.check()


MOVING_SLIDES = """# One
Text

Note:
First.
---
# Two
![](00-story)

Note:
Second.
---
# Three
Text

Note:
Third.
"""


@pytest.fixture(scope="module")
def moving_talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up talk whose second slide builds up in two frames and then moves."""
    root = tmp_path_factory.mktemp("moving-talk")
    write_figure(root, "00-story", frames=2)
    (root / "slides.md").write_text(MOVING_SLIDES, encoding="utf-8")
    moving = Moving({"00-story": "lpsgld.lab.views.start_here.story"}, Recordings(root / "views"))
    return build_deck(root / "slides.md", root, root / "slides.html", moving)


def test_arrows_move_a_slider_in_focus_and_else_the_slide(moving_talk, window, screenshots):
    page = window.open(moving_talk)
    slider = page.get_by_role("slider", name="step size α")
    page.keyboard.press("ArrowRight")
    assert place(page) == "2 / 3" and not slider.is_visible(), "the first frame stands still"
    page.keyboard.press("ArrowRight")
    assert place(page) == "2 / 3" and slider.get_attribute("aria-valuetext") == "0.0001", "as the figure is drawn"
    page.screenshot(path=screenshots / "slide-moving.png")
    face, picture = page.locator(".slide.now .face"), page.locator(".slide.now .moving")
    assert picture.bounding_box()["height"] > 0.6 * face.bounding_box()["height"]
    slider.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert slider.get_attribute("aria-valuetext") == "0.0005" and place(page) == "2 / 3"
    page.keyboard.press("d")
    assert page.evaluate("() => getComputedStyle(document.body).backgroundColor") == "rgb(22, 24, 29)"
    assert not page.locator(".slide.now img:visible").count(), "no still beside it, in no theme"
    page.keyboard.press("PageDown")  # what a clicker sends
    assert place(page) == "3 / 3"
    page.keyboard.press("ArrowLeft")
    assert place(page) == "2 / 3" and slider.get_attribute("aria-valuetext") == "0.0005"
    page.keyboard.press("ArrowLeft")
    assert place(page) == "2 / 3" and not slider.is_visible()
    window.check()


def test_dark_overview_and_help(talk, window):
    page = window.open(talk)
    page.keyboard.press("End")
    page.keyboard.press("d")
    assert page.evaluate("() => getComputedStyle(document.body).backgroundColor") == "rgb(22, 24, 29)"
    page.keyboard.press("o")
    assert page.locator(".slide:visible").count() == 20
    page.locator(".slide").nth(4).click()
    assert place(page) == "5 / 20" and page.locator(".slide:visible").count() == 1
    assert page.locator(".slide.now .frame.now img.dark").is_visible()
    page.keyboard.press("h")
    assert page.get_by_text("speaker's window").is_visible()
    page.keyboard.press("h")
    assert not page.get_by_text("speaker's window").is_visible()
    window.check()


def test_printing_gives_one_slide_a_page(talk, window):
    page = window.open(talk)
    pdf = page.pdf(prefer_css_page_size=True, print_background=True)
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) == 20
    assert set(re.findall(rb"/MediaBox \[([^\]]+)\]", pdf)) == {b"0 0 960 540"}
