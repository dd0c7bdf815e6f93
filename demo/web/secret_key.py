"""The key that signs cookies, where no setting gives one: made once, and kept with the app's data."""

import os
import secrets
from pathlib import Path

from demo.config import ConfigError


def secret_key(instance: Path) -> str:
    """The key in `instance/secret_key`, made at the first start, readable by the owner alone.

    Several processes may start at once: a complete file is linked into place, and the first one
    wins. Where the folder cannot be written the key lives as long as the process, and every worker
    would have its own, so ConfigError asks for SECRET_KEY.
    """
    path = instance / "secret_key"
    fresh = path.with_name(f"secret_key.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        if path.exists():
            return _complete(path)
        instance.mkdir(parents=True, exist_ok=True)
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
        try:
            os.link(fresh, path)
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
        return _complete(path)
    except OSError as error:
        raise ConfigError(
            f"SECRET_KEY is not set, and the app cannot store one in {instance} ({error.strerror})."
        ) from None


def _complete(path: Path) -> str:
    key = path.read_text().strip()
    if len(key) < 32:
        raise ConfigError(f"{path} contains no key. Delete it, or set SECRET_KEY.")
    return key
