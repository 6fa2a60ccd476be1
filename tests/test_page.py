"""The page in a real browser: what it says, whom it asks, and that it runs nothing of others."""

import shutil
from dataclasses import replace
from datetime import datetime, timezone

import pytest

import pictures
from browser import Browser
from onearm.serve.web import Web

pytestmark = [
    pytest.mark.enable_socket,
    pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium: scripts/setup"),
]
READY = "document.querySelectorAll('.service tbody tr').length > 0"


class Shown:
    """A server whose snapshot changes, and a page that shows it."""

    def __init__(self):
        self.make = pictures.small
        self.web = Web(("127.0.0.1", 0), lambda: self.make(datetime.now(timezone.utc)))
        self.web.open()
        self.url = f"http://127.0.0.1:{self.web.address[1]}/"


@pytest.fixture(scope="module")
def browser():
    with Browser() as found:
        yield found


@pytest.fixture
def shown():
    found = Shown()
    yield found
    found.web.close()


@pytest.fixture
def open_page(browser, shown):
    pages = []

    def open_(make, *size, **options):
        shown.make = make
        page = browser.page(shown.url, *size, **options)
        pages.append(page)
        page.wait(READY)
        return page

    yield open_
    for page in pages:
        assert page.complaints() == []
        assert {url.startswith(shown.url) for url in page.asked()} == {True}
        page.close()


def rows(page):
    script = "[...document.querySelectorAll('.service tbody tr')].map(r => r.innerText)"
    return page.run(script)


def test_all_is_well(open_page):
    page = open_page(pictures.small)
    text = page.text()
    for wanted in (
        "All is well: 2 of 2 in rotation",
        "director server-1",
        "203.0.113.2:80/tcp",
        "wlc",
    ):
        assert wanted in text
    assert [row.split()[0] for row in rows(page)] == ["server-2", "server-3"]
    assert "http via VIP 600 µs" in rows(page)[0]
    assert page.run("document.title") == "✔ web · onearm"
    assert page.run("document.querySelectorAll('.box.host.up').length") == 2
    assert page.run("document.querySelectorAll('.alert').length") == 0
    assert "replies go straight back" in page.run("document.querySelector('.lines').textContent")


def test_trouble_is_seen_at_once_and_its_end_too(open_page, shown):
    page = open_page(pictures.trouble)
    text = page.text()
    assert "server-3 (fa:16:3e:00:00:05) answers ARP for 203.0.113.2" in text
    assert text.count(pictures.NO_VIP) >= 3  # alert, table, events
    assert "claims 203.0.113.2 as well" in text and "contested" in text
    assert rows(page)[0].startswith("server-3")  # the worst first
    assert "down" in rows(page)[0] and "0 of 1" in rows(page)[0]
    assert page.run("document.querySelector('.cross').getAttribute('d') !== null")
    assert page.run("document.title").startswith("✖")
    shown.make = pictures.small
    page.wait("document.title.startsWith('✔')")
    assert (
        "claims" not in page.text() and page.run("document.querySelectorAll('.alert').length") == 0
    )


def test_many_servers_are_all_there(open_page):
    page = open_page(pictures.large)
    assert len(rows(page)) == 60
    assert page.run("document.querySelectorAll('.box.row').length") == 20
    line = "[...document.querySelectorAll('.box.row')].find(r => r.innerText.includes('server-8'))"
    assert ":443 down" in page.run(f"{line}.innerText")
    assert page.run(f"{line}.querySelectorAll('.glyph.up').length") == 2
    assert page.run(f"{line}.querySelectorAll('.glyph.down').length") == 1
    assert "cut in 2 min" in page.text()


def test_nothing_of_others_is_run_or_drawn(open_page):
    page = open_page(pictures.hostile)
    assert "<img src=x" in page.text()
    assert page.run("document.querySelectorAll('main img, main script, main b b').length") == 0
    assert page.run("document.title").endswith("· onearm")


MEET = """
(() => {
  const boxes = [...document.querySelectorAll('.cards > .box')].map(b => b.getBoundingClientRect());
  const meet = (a, b) => a.left < b.right - 1 && b.left < a.right - 1
    && a.top < b.bottom - 1 && b.top < a.bottom - 1;
  return boxes.some((a, i) => boxes.slice(i + 1).some(b => meet(a, b)));
})()
"""


@pytest.mark.parametrize("make", [pictures.trouble, pictures.large])
def test_it_fits_every_width(open_page, make):
    page = open_page(make)
    for width in (320, 400, 700, 800, 1000, 1280, 1920):
        page.size(width, 800)
        page.wait(f"document.querySelector('.lines').clientWidth <= {width}")
        assert page.run("document.documentElement.scrollWidth") <= width, width
        assert page.run(MEET) is False, f"at {width} two boxes of the picture lie on each other"
        narrow = width < 980
        assert ("kB" in rows(page)[-1]) != narrow, f"at {width}: what has no room is left out"


def test_thousands_are_cut_short_the_worst_kept(open_page):
    def many(now):
        up = [pictures.server(n % 200, now=now) for n in range(1000)]
        named = [replace(one, host=f"s-{n}") for n, one in enumerate(up)]
        down = pictures.server(3, "down", now=now, reason="why")
        return pictures.snapshot([pictures.service([*named, down])], now)

    page = open_page(many)
    assert len(rows(page)) == 300 and rows(page)[0].startswith("server-3")
    assert "and 701 more, none of them worse" in page.text()
    assert "and 978 more servers, none of them worse" in page.text()


def test_the_dark_is_dark_and_a_dead_daemon_is_told(browser, shown):
    page = browser.page(shown.url, dark=True)
    page.wait(READY)
    colour = page.run("getComputedStyle(document.body).backgroundColor")
    assert max(map(int, colour.strip("rgb()").split(","))) < 40
    shown.web.close()
    page.wait("document.body.classList.contains('gone')")
    assert "daemon gone for" in page.text()
    assert page.run("document.title") == "✖ daemon gone · onearm"
    page.close()
