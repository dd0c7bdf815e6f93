import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.sessions.user_agent import describe

MOZILLA = "Mozilla/5.0"
KIT = "AppleWebKit/537.36 (KHTML, like Gecko)"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{MOZILLA} (X11; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0", "Firefox 131 on Linux"),
        (f"{MOZILLA} (Windows NT 10.0; Win64; x64) {KIT} Chrome/130.0.0.0 Safari/537.36", "Chrome 130 on Windows"),
        (f"{MOZILLA} (Windows NT 10.0) {KIT} Chrome/130.0.0.0 Safari/537.36 Edg/130.0.0.0", "Edge 130 on Windows"),
        (f"{MOZILLA} (Macintosh; Intel Mac OS X 10_15_7) {KIT} Chrome/130.0 Safari/537.36 OPR/115.0", "Opera 115 on macOS"),
        (
            f"{MOZILLA} (iPhone; CPU iPhone OS 17_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.6 "
            "Mobile/15E148 Safari/604.1",
            "Safari 17 on iPhone",
        ),
        (f"{MOZILLA} (iPad; CPU OS 17_6 like Mac OS X) CriOS/130.0 Mobile Safari/604.1", "Chrome 130 on iPad"),
        (f"{MOZILLA} (Linux; Android 14) SamsungBrowser/26.0 Chrome/122.0", "Samsung Internet 26 on Android"),
        (f"{MOZILLA} (X11; CrOS x86_64 14541.0.0) {KIT} Chrome/130.0 Safari/537.36", "Chrome 130 on ChromeOS"),
        (f"{MOZILLA} (Macintosh; Intel Mac OS X 14_6) AppleWebKit/605 Version/18.0 Safari/605.1.15", "Safari 18 on macOS"),
        ("curl/8.5.0", "curl 8"),
        ("Python-urllib/3.11", "Python 3"),
        ("", "A browser"),
        ("<script>alert(1)</script>", "A browser"),
    ],
)  # fmt: skip
def test_a_browser_is_known_again(text: str, said: str) -> None:
    assert describe(text) == said


def test_only_the_beginning_of_a_text_is_looked_at() -> None:
    """It may be as long as a header may be, and the patterns go through it many times."""
    name = "Firefox/131.0"
    assert describe("x" * (512 - len(name)) + name) == "Firefox 131"
    assert describe("x" * 512 + name) == "A browser"


@given(st.text(max_size=2000))
def test_any_text_gives_a_short_answer(text: str) -> None:
    assert 0 < len(describe(text)) <= 40


def test_what_comes_after_512_characters_is_not_read() -> None:
    assert describe("x" * 512 + "Firefox/131.0") == "A browser"
    assert describe("x" * 499 + "Firefox/131.0") == "Firefox 131"
