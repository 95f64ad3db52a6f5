"""Daily work with the files of a claw in a browser: what people press, what is asked, and what survives."""

from __future__ import annotations

import os
import re
import wave
import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Watch, confirm
from tests.browser.portal import PortalProcess

PICTURES = Path(os.environ["CLAWPORTAL_TEST_PICTURES"]) if os.environ.get("CLAWPORTAL_TEST_PICTURES") else None


@pytest.fixture(scope="module")
def claw(portal: PortalProcess) -> str:
    return str(portal.running("library")["id"])


def picture(page: Page, name: str) -> None:
    """Kept where somebody wants to look at them."""
    if PICTURES is not None:
        page.screenshot(path=PICTURES / f"{name}.png", full_page=True)


def work_of(portal: PortalProcess, claw: str) -> Path:
    return portal.folder / "clusters" / "local" / "instances" / claw / "work"


def choose(page: Page, name: str, action: str) -> None:
    """Something in the menu of a row."""
    line = page.locator(f'#files tr[data-name="{name}"]')
    line.locator("details.menu > summary").click()
    line.get_by_role("button", name=action, exact=True).click()


def answer(page: Page, text: str, button: str) -> None:
    dialog = page.locator("#file-name")
    expect(dialog).to_be_visible()
    dialog.get_by_role("textbox").fill(text)
    dialog.get_by_role("button", name=button, exact=True).click()
    expect(dialog).to_be_hidden()


def test_a_day_with_files(portal: PortalProcess, page: Page, claw: str, watch: Watch) -> None:
    watch.expect("status of 409")  # the name that is taken
    work = work_of(portal, claw)
    (work / "plan.md").write_text("one")
    page.goto(f"/instances/{claw}/files?path=work")
    page.get_by_text("New", exact=True).click()
    page.get_by_role("button", name="New folder").click()
    answer(page, "reports", "Create")
    expect(page.locator('#files tr[data-name="reports"]')).to_be_visible()
    page.locator('#files tr[data-name="plan.md"] summary').focus()
    page.keyboard.press("F2")
    answer(page, "plans.md", "Rename")
    expect(page.locator('#files tr[data-name="plans.md"]')).to_be_visible()
    choose(page, "plans.md", "Copy")
    with page.expect_response(lambda response: "/files?path=work" in response.url):  # the list comes anew
        answer(page, "work/reports/plans.md", "Copy")
    expect(page.locator("#files.htmx-swapping, #files.htmx-settling")).to_have_count(0)
    choose(page, "plans.md", "Move")
    answer(page, "work/reports/plans.md", "Move")
    expect(page.get_by_role("heading", name="There is a plans.md already")).to_be_visible()
    picture(page, "taken")
    page.get_by_role("button", name="Keep both").click()
    expect(page.locator('#files tr[data-name="plans.md"]')).to_have_count(0)
    assert sorted(path.name for path in (work / "reports").iterdir()) == ["plans (2).md", "plans.md"]
    page.get_by_role("searchbox").fill("PLANS")
    page.keyboard.press("Enter")
    expect(page.get_by_text("2 found for “PLANS”")).to_be_visible()
    page.get_by_role("link", name="Show the folder again").click()
    page.locator('#files tr[data-name="reports"] summary').focus()
    page.keyboard.press("Delete")
    confirm(page)
    expect(page.locator('#files tr[data-name="reports"]')).to_have_count(0)
    page.get_by_role("link", name="Trash").click()
    picture(page, "trash")
    page.get_by_role("button", name="Restore").click()
    expect(page.get_by_role("heading", name="The trash is empty")).to_be_visible()
    assert (work / "reports" / "plans.md").read_text() == "one"


def test_several_files_at_once(portal: PortalProcess, page: Page, claw: str, watch: Watch, tmp_path: Path) -> None:
    """A range with Shift, the keyboard, and what is said where a part of it fails."""
    watch.expect("status of 409", "status of 404")
    folder = work_of(portal, claw) / "several"
    (folder / "aim").mkdir(parents=True)
    for number in range(6):
        (folder / f"{number}.txt").write_text(str(number))
    (folder / "aim" / "1.txt").write_text("taken")
    page.goto(f"/instances/{claw}/files?path=work/several")
    page.get_by_role("checkbox", name="0.txt").check()
    page.get_by_role("checkbox", name="3.txt").click(modifiers=["Shift"])
    bar = page.get_by_role("toolbar", name="Selected files")
    expect(bar).to_contain_text("4 selected")
    picture(page, "several")
    with page.expect_download() as download:
        bar.get_by_role("button", name="As ZIP archive").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        assert archive.namelist() == ["0.txt", "1.txt", "2.txt", "3.txt"]
    (folder / "3.txt").unlink()
    bar.get_by_role("button", name="Move").click()
    picture(page, "several-move")
    answer(page, "work/several/aim/", "Move")
    expect(page.get_by_role("heading", name="There is a 1.txt already")).to_be_visible()
    page.get_by_label("Do the same for the others").check()
    page.locator("#file-taken").get_by_role("button", name="Cancel").click()
    partly = page.locator("#several-partly")
    expect(partly).to_contain_text("2 of 4 were done")
    expect(partly.get_by_role("listitem")).to_have_count(2)
    picture(page, "several-partly")
    page.keyboard.press("Enter")
    expect(partly).to_be_hidden()
    assert sorted(path.name for path in (folder / "aim").iterdir()) == ["0.txt", "1.txt", "2.txt"]
    expect(bar).to_contain_text("1 selected")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("x")
    expect(bar).to_contain_text("2 selected")
    page.keyboard.press("Delete")
    confirm(page)
    expect(page.locator("#files tbody tr")).to_have_count(2)
    assert sorted(path.name for path in folder.iterdir()) == ["5.txt", "aim"]
    expect(bar).to_be_hidden()


def pdf() -> bytes:
    objects = (
        b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 300 200] >>",
    )  # fmt: skip
    body = b"%PDF-1.4\n" + b"".join(b"%d 0 obj\n%s\nendobj\n" % (number, one) for number, one in enumerate(objects, 1))
    return body + b"trailer << /Size 4 /Root 1 0 R >>\n%%EOF"


def test_what_a_browser_shows_by_itself(portal: PortalProcess, page: Page, claw: str) -> None:
    """A PDF in a frame, and sound: each asked for once, from an address where nothing of it runs."""
    work = work_of(portal, claw)
    (work / "paper.pdf").write_bytes(pdf())
    with wave.open(str(work / "tone.wav"), "wb") as sound:
        sound.setparams((1, 2, 8000, 8000, "NONE", ""))
        sound.writeframes(bytes(16_000))
    with page.expect_response(lambda response: "/shown" in response.url) as shown:
        page.goto(f"/instances/{claw}/files/view?path=work/paper.pdf")
    assert shown.value.status == 200 and shown.value.headers["content-type"] == "application/pdf"
    expect(page.locator("iframe.document")).to_be_visible()
    picture(page, "pdf")
    page.goto(f"/instances/{claw}/files/view?path=work/tone.wav")
    page.wait_for_function("document.querySelector('audio').duration === 1")
    picture(page, "sound")


def test_markdown_as_it_reads(portal: PortalProcess, page: Page, claw: str) -> None:
    """What a claw wrote is text: no HTML of it, no address that is a script, no picture that is loaded."""
    evil = "# Plan\n\n- one\n- two\n\n| a | b |\n|---|--:|\n| 1 | 2 |\n\n```python\nprint(1)\n```\n"
    evil += "<img src=x onerror=alert(1)>\n\n[go](javascript:alert(1)) ![far](https://far.example/x.png) [fine](https://fine.example)\n"
    (work_of(portal, claw) / "plan of it.md").write_text(evil)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"/instances/{claw}/files/view?path=work/plan of it.md")
    reading = page.locator("#reading")
    expect(reading.get_by_role("heading", name="Plan")).to_be_visible()
    expect(reading.get_by_role("table")).to_be_visible()
    expect(reading.get_by_role("link")).to_have_count(1)
    expect(reading.get_by_text("<img src=x onerror=alert(1)>")).to_be_visible()
    expect(reading.locator("img")).to_have_count(0)
    assert not [url for url in asked if "example" in url]
    picture(page, "markdown")
    page.get_by_role("radio", name="Text").click()
    editor = page.locator("#editor .cm-content")
    editor.click()
    page.keyboard.press("Control+Home")
    page.keyboard.type("# First\n")
    page.get_by_role("radio", name="As it reads").click()
    expect(reading.get_by_role("heading", name="First")).to_be_visible()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved.")).to_be_visible()


LOOKS = ("?path=work", "?path=work/empty", "?path=work/looks", "/trash", "/view?path=work/looks/note.md",
         "/view?path=work/looks/t.csv", "?path=tmp", "/view?path=work/looks/bin", "?path=home", "")  # fmt: skip


def test_how_files_look(portal: PortalProcess, phone: Page, page: Page, claw: str, watch: Watch) -> None:
    """Long names, an empty folder, after a refusal, in both languages, light and dark: nothing is wider than the screen."""
    watch.expect("status of 404")
    work = work_of(portal, claw)
    (work / "empty").mkdir()
    (work / "looks").mkdir()
    (work / "looks" / ("a very long name of a file that goes on and on " * 4 + ".txt")).write_text("x")
    (work / "looks" / ("x" * 200 + ".json")).write_text("{}")
    (work / "looks" / "note.md").write_text(
        "# Note\n\n" + "text " * 80 + "\n\n" + "y" * 300 + "\n\n```\n" + "code " * 60 + "\n```\n"
    )
    (work / "looks" / "t.csv").write_text("a,b,c\n" + "1,2," + "long " * 60 + "\n")
    (work / "looks" / "bin").write_bytes(b"\0" * 100)
    for where, width in ((page, 1280), (phone, 390)):
        for language in ("zh_Hans", "en"):
            where.goto("/profile")
            where.evaluate(
                "async (language) => { const body = new FormData(); body.set('language', language); body.set('csrf_token',"
                " document.querySelector('meta[name=csrf-token]').content);"
                " await fetch('/language', { method: 'POST', body }); }",
                language,
            )
            for scheme in ("light", "dark"):
                where.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # one of the words for it
                for path in LOOKS:
                    where.goto(f"/instances/{claw}/files{path}")
                    assert where.evaluate("document.documentElement.scrollWidth") <= width, (path, width)
                    picture(where, f"look-{width}-{language}-{scheme}" + re.sub(r"\W+", "-", path))
            where.emulate_media(color_scheme="light")


def test_a_large_file_is_paused_and_goes_on_after_a_crash(
    portal: PortalProcess, page: Page, claw: str, tmp_path: Path, watch: Watch
) -> None:
    """The portal is killed in the middle, and the upload goes on where it ended."""
    watch.expect("ERR_CONNECTION|ERR_ABORTED|WebSocket|socket.io|status of 409|status of 5")
    large = tmp_path / "large.bin"
    large.write_bytes(os.urandom(1 << 20) * 40)
    page.goto(f"/instances/{claw}/files?path=work")
    parts: list[int] = []
    page.on("request", lambda request: parts.append(int(request.headers["upload-offset"])) if request.method == "PATCH" else None)
    with page.expect_response(lambda response: response.request.method == "PATCH" and response.status == 204):
        page.locator("[data-upload]").set_input_files(large)
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("button", name="Go on")).to_be_visible()
    picture(page, "paused")
    portal.kill()
    portal.start()
    page.get_by_role("button", name="Go on").click()
    expect(page.locator('#files tr[data-name="large.bin"]')).to_be_visible(timeout=60_000)
    assert (work_of(portal, claw) / "large.bin").read_bytes() == large.read_bytes()
    assert parts.count(0) == 1 and max(parts) > 0, "nothing was sent twice from the beginning"


def test_ten_thousand_files_are_shown_page_by_page(portal: PortalProcess, page: Page, claw: str) -> None:
    many = work_of(portal, claw) / "many"
    many.mkdir()
    for number in range(10_000):
        (many / f"file-{number:05}.txt").touch()
    page.goto(f"/instances/{claw}/files?path=work/many")
    expect(page.locator("#files tbody tr")).to_have_count(200)
    expect(page.get_by_text("1–200 of 10000")).to_be_visible()
    page.get_by_role("link", name="Next").click()
    expect(page.locator("#files tbody tr").first).to_have_attribute("data-name", "file-00200.txt")
    page.get_by_role("link", name="Name", exact=True).click()
    expect(page.locator("#files tbody tr").first).to_have_attribute("data-name", "file-09999.txt")


def test_files_on_a_phone_and_in_the_dark(portal: PortalProcess, phone: Page, page: Page, claw: str) -> None:
    work = work_of(portal, claw)
    (work / ("long-name-" + "x" * 90 + ".txt")).write_text("x")
    for path in ("", "?path=work", "?path=home", "/trash", "?path=work&q=nothing+like+this"):
        phone.goto(f"/instances/{claw}/files{path}")
        expect(phone.locator("#files")).to_be_visible()
        assert phone.evaluate("document.documentElement.scrollWidth") <= 390, path
        picture(phone, "phone" + re.sub(r"\W+", "-", path))
    page.goto(f"/instances/{claw}/files?path=work")
    picture(page, "light")
    page.emulate_media(color_scheme="dark")
    picture(page, "dark")
    page.emulate_media(color_scheme="light")


def test_two_people_edit_one_file(portal: PortalProcess, page: Page, claw: str, watch: Watch) -> None:
    """The claw writes while somebody edits: both versions are shown, and nothing is lost, whatever is chosen."""
    watch.expect("status of 412", "status of 409")
    work = work_of(portal, claw)
    (work / "talk.py").write_text("print('one')\r\n")
    page.goto(f"/instances/{claw}/files?path=work")
    page.locator("#files").get_by_role("link", name="talk.py", exact=True).click()
    editor = page.locator("#editor .cm-content")
    expect(editor).to_contain_text("print('one')")
    expect(editor.locator("span").first).to_be_visible()
    picture(page, "editor")
    editor.click()
    page.keyboard.press("Control+End")
    page.keyboard.type("# mine")
    expect(page.get_by_text("Not saved yet")).to_be_visible()
    page.keyboard.press("Control+s")
    expect(page.get_by_text("Saved.")).to_be_visible()
    assert (work / "talk.py").read_bytes() == b"print('one')\r\n# mine"
    (work / "talk.py").write_text("of the claw")
    page.keyboard.type(" again")
    page.keyboard.press("Control+s")
    expect(page.locator("#conflict")).to_be_visible()
    expect(page.locator(".theirs")).to_have_text("of the claw")
    expect(editor).to_contain_text("# mine again")
    picture(page, "conflict")
    page.emulate_media(color_scheme="dark")
    picture(page, "conflict-dark")
    page.get_by_role("button", name="Save mine beside it").click()
    expect(page).to_have_url(re.compile(r"talk[^&]+2[^&]*\.py"))
    expect(page.locator("#editor .cm-content")).to_contain_text("# mine again")
    assert (work / "talk.py").read_text() == "of the claw" and (work / "talk (2).py").read_bytes().endswith(b"# mine again")
