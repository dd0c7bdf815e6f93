"""`flask --app wsgi run` and `gunicorn wsgi:app` find the app here."""

import sys

from demo.app import create_app, explained
from demo.config import ConfigError

try:
    app = create_app()
except ConfigError as error:
    if "--explain" in sys.argv:  # the start fails, and why is what is asked
        print(*explained(), sep="\n")  # noqa: T201
    sys.exit(f"{error}")
