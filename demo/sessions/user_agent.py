"""What a list of devices says of a browser: its name and its system, enough to know one's own
again. The whole User-Agent is kept nowhere."""

import re

BROWSERS = (
    ("Edge", r"Edg(?:e|A|iOS)?/(\d+)"),
    ("Opera", r"OPR/(\d+)"),
    ("Samsung Internet", r"SamsungBrowser/(\d+)"),
    ("Firefox", r"(?:Firefox|FxiOS)/(\d+)"),
    ("Chrome", r"(?:HeadlessChrome|Chrome|CriOS)/(\d+)"),
    ("Safari", r"Version/(\d+)[\d.]* (?:Mobile/\S+ )?Safari/"),
    ("curl", r"^curl/(\d+)"),
    ("Python", r"^(?:Python-urllib|python-requests|python-httpx)/(\d+)"),
)
SYSTEMS = (
    ("iPhone", r"iPhone"),
    ("iPad", r"iPad"),
    ("Android", r"Android"),
    ("Windows", r"Windows NT"),
    ("ChromeOS", r"CrOS"),
    ("macOS", r"Macintosh|Mac OS X"),
    ("Linux", r"Linux|X11"),
)
MAX_CHARACTERS = 512


def describe(user_agent: str) -> str:
    """The browser and the system, such as “Firefox 131 on Linux”; first match wins, for browsers
    name each other."""
    text = user_agent[:MAX_CHARACTERS]
    found = ((name, re.search(pattern, text)) for name, pattern in BROWSERS)
    browser = next((f"{name} {match[1][:4]}" for name, match in found if match), "A browser")
    system = next((name for name, pattern in SYSTEMS if re.search(pattern, text)), "")
    return f"{browser} on {system}" if system else browser
