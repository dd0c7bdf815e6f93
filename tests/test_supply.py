"""What is installed and what runs beside it: pinned with hashes, and with no more rights than it needs."""

import re
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from demo import config
from tests.servers import REPOSITORY

PINS = (REPOSITORY / "constraints.txt").read_text()
BLOCKS = re.findall(r"(?m)^(\S[^\\\n]*)((?: \\\n {4}--hash=\S+)*)$", PINS)
PINNED = {
    canonicalize_name(made.name): (made, re.findall(r"--hash=(\S+)", hashes))
    for made, hashes in ((Requirement(line), hashes) for line, hashes in BLOCKS if line[0] != "#")
}
ASKED = [
    Requirement(line)
    for line in (REPOSITORY / "requirements.txt").read_text().splitlines()
    if line and line[0] != "#"
]
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((REPOSITORY / "compose.yaml").read_text())[
    "services"
]


def version(name: str) -> Version:
    made, _ = PINNED[canonicalize_name(name)]
    (pin,) = made.specifier
    assert pin.operator == "=="
    return Version(pin.version)


@pytest.mark.parametrize("asked", ASKED, ids=lambda asked: asked.name)
def test_each_requirement_is_met_by_a_pinned_version(asked: Requirement) -> None:
    assert asked.specifier.contains(version(asked.name))
    assert asked.marker or not PINNED[canonicalize_name(asked.name)][0].marker


@pytest.mark.parametrize("name", PINNED)
def test_each_pin_has_the_hashes_of_its_files_and_what_it_needs_is_pinned_too(name: str) -> None:
    made, hashes = PINNED[name]
    assert hashes and len(set(hashes)) == len(hashes)
    assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", each) for each in hashes)
    if made.marker and not made.marker.evaluate():
        return  # of another system: not installed here
    extras = {
        extra for asked in ASKED if canonicalize_name(asked.name) == name for extra in asked.extras
    }
    for line in metadata.requires(name) or ():
        needed = Requirement(line)
        if needed.marker is None or any(
            needed.marker.evaluate({"extra": extra}) for extra in ("", *extras)
        ):
            assert needed.specifier.contains(version(needed.name)), needed


def test_what_is_compiled_has_a_file_for_each_platform() -> None:
    for name in ("cryptography", "gevent", "hiredis", "msgspec", "psycopg-binary", "zstandard"):
        assert len(PINNED[name][1]) > 20, name


def test_the_pins_name_no_index() -> None:
    assert "://" not in PINS and "--index" not in PINS and "--find-links" not in PINS


def test_the_image_installs_by_hash_alone() -> None:
    text = (REPOSITORY / "Dockerfile").read_text()
    installs = re.findall(r"pip install.*?(?:&&|$)", text, re.MULTILINE)
    assert [line.split(" &&")[0] for line in installs] == [
        "pip install --require-hashes -r /src/constraints.txt"
    ]
    assert "!constraints.txt" in (REPOSITORY / ".dockerignore").read_text().splitlines()


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_has_no_more_than_it_needs(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert set(service.get("cap_add", [])) <= {
        *("CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETPCAP", "SETUID", "NET_BIND_SERVICE")
    }
    assert service["read_only"] is True and "/tmp" in service["tmpfs"]
    assert service["security_opt"] == ["no-new-privileges"]
    if name.startswith(("redis", "sentinel")):  # its root cannot be written, whatever it starts in
        assert service["working_dir"] == "/data"
    assert service["mem_limit"] and 0 < service["pids_limit"] <= 256
    assert service["restart"] == "unless-stopped"
    assert not re.search(r":latest\b|^[^:]+$", service["image"]) or "build" in service


def test_each_image_is_known_by_its_digest_too() -> None:
    text = (REPOSITORY / "compose.yaml").read_text()
    defaults = dict(re.findall(r"\$\{(\w+_IMAGE):-([^}]+)\}", text))
    lines = (REPOSITORY / "deploy" / "images.env").read_text().splitlines()
    digests = dict(line.split("=", 1) for line in lines if not line.startswith("#"))
    assert digests.keys() == defaults.keys()
    for name, default in defaults.items():
        # the same line of versions, at one that does not move
        assert re.fullmatch(re.escape(default) + r"[\d.]*@sha256:[0-9a-f]{64}", digests[name])


@pytest.mark.parametrize("name", ["web", "web-1", "web-2"])
def test_each_setting_reaches_the_app_and_is_its_default_where_none_is_given(name: str) -> None:
    """One that stood in .env and was not passed on would have no effect, without a word."""
    passed = SERVICES[name]["environment"]
    settings = {setting.env for setting in config.SETTINGS.values()} - {"DEMO_INSTANCE_PATH"}
    assert settings <= passed.keys()
    given = {of: text for of, text in passed.items() if of.startswith("DEMO_")}
    assert all(text.startswith(f"${{{of}:-") for of, text in given.items())
    empty = {of: re.sub(r"\$\{\w+:-(.*)\}", r"\1", text) for of, text in given.items()}
    of_the_image = {"LOG_FORMAT": "json", "TRUSTED_PROXIES": 0 if name == "web" else 1}
    assert config.load(environ=empty) == {**config.load(environ={}), **of_the_image}


def test_no_password_has_a_default() -> None:
    text = (REPOSITORY / "compose.yaml").read_text()
    asked = re.findall(r"\$\{(\w*PASSWORD\w*)([^}]*)\}", text)
    assert {name for name, _ in asked} == {"REDIS_PASSWORD", "POSTGRES_PASSWORD"}
    assert {rest for _, rest in asked} == {":?run make secrets"}


def test_secrets_are_made_once_and_for_their_owner_alone(tmp_path: Path) -> None:
    make = ["make", "-f", str(REPOSITORY / "Makefile"), "secrets"]
    subprocess.run(make, cwd=tmp_path, check=True, capture_output=True)
    first = (tmp_path / ".env").read_text()
    assert re.fullmatch(r"REDIS_PASSWORD=[0-9a-f]{48}\nPOSTGRES_PASSWORD=[0-9a-f]{48}\n", first)
    assert (tmp_path / ".env").stat().st_mode & 0o077 == 0
    subprocess.run(make, cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / ".env").read_text() == first
