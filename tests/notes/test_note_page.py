"""Notes in the browser: shown safely, marked in the list, and never overwritten without a word."""

from __future__ import annotations

import html
import re
from collections.abc import Callable

import pytest

from clawportal.http.markdown import rendered
from tests.conftest import People
from tests.notes.test_notes import TEXT, write
from tests.web.conftest import Browser

Browse = Callable[..., Browser]


@pytest.fixture
def claw(people: People) -> str:
    return str(people.owner.create("helper")["id"])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a **b** *c* `d`", "<p>a <strong>b</strong> <em>c</em> <code>d</code></p>"),
        ("one\ntwo", "<p>one<br />\ntwo</p>"),
        ("# Big", "<h3>Big</h3>"),
        ("~~gone~~", "<p><s>gone</s></p>"),
        ("<script>alert(1)</script>", "<p>&lt;script&gt;alert(1)&lt;/script&gt;</p>"),
        ("<b onclick=x>b</b>", "<p>&lt;b onclick=x&gt;b&lt;/b&gt;</p>"),
        ("[x](javascript:alert(1))", "<p>[x](javascript:alert(1))</p>"),
        ("[x](data:text/html,1)", "<p>[x](data:text/html,1)</p>"),
        ("[x](//evil.example)", "<p>[x](//evil.example)</p>"),
        ("[x](JaVaScRiPt&colon;alert(1))", "<p>[x](JaVaScRiPt:alert(1))</p>"),
    ],
)
def test_what_markdown_becomes(text: str, shown: str) -> None:
    assert str(rendered(text)).strip() == shown


def test_links_lead_out_and_pictures_are_not_loaded() -> None:
    told = str(rendered('[a](https://x.example/?a=1&b="2") ![p](https://x.example/p.png) <https://y.example>'))
    assert "<img" not in told and told.count('rel="noopener noreferrer nofollow"') == 3 and 'target="_blank"' in told
    assert not re.search(r'href="[^"]*"[^ >]', told)


def test_the_page_of_a_claw_shows_its_note(people: People, browse: Browse, claw: str) -> None:
    address = f"/instances/{claw}"
    assert f"{address}/note" not in browse(people.viewer).page(address) and "Nobody wrote" in browse(people.owner).page(address)
    assert write(people.owner, claw, TEXT + " <i>x</i>").status_code == 200
    page = browse(people.viewer).page(address)
    assert "Ask <strong>Kim</strong> before stopping it. &lt;i&gt;x&lt;/i&gt;" in page and f"{address}/note" not in page
    assert f"{address}/note" in browse(people.developer).page(address)
    row = browse(people.viewer).page("/instances")
    assert f'href="{address}#note"' in row and "There is a note on it" in row
    write(people.owner, claw, "", 1)
    assert "#note" not in browse(people.viewer).page("/instances")


def test_a_note_is_written_on_its_page(people: People, browse: Browse, claw: str) -> None:
    path, browser = f"/instances/{claw}/note", browse(people.developer)
    assert 'name="generation" value="0"' in browser.page(path)
    answer = browser.post(path, {"text": TEXT, "generation": "0"})
    assert answer.status_code == 303 and "The note was saved." in browser.page(answer.headers["Location"])
    answer = browser.post(path, {"text": "x" * 4001, "generation": "1"})
    page = answer.get_data(as_text=True)
    assert answer.status_code == 422 and "4000 letters at most" in page and "x" * 4001 in page
    for person, status in ((people.viewer, 403), (people.stranger, 404)):
        assert browse(person).get(path).status_code == status


def test_what_somebody_else_wrote_meanwhile_is_shown_beside_it(people: People, browse: Browse, claw: str) -> None:
    path, browser = f"/instances/{claw}/note", browse(people.developer)
    write(people.owner, claw, "theirs")
    answer = browser.post(path, {"text": "mine", "generation": "0"})
    page = html.unescape(answer.get_data(as_text=True))
    assert answer.status_code == 412 and "owner saved it" in page and ">theirs<" in page and ">mine<" in page
    answer = browser.post(path, {"text": "mine", "generation": "0", "overwrite": "1"})
    assert answer.status_code == 303 and people.owner.get(f"instances/{claw}/note").get_json()["text"] == "mine"
