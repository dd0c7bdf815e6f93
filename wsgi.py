"""`flask --app wsgi run` and `gunicorn wsgi:app` find the app here."""

import sys

from demo.app import create_app
from demo.config import ConfigError
from demo.web.command_line import explained

try:
    app = create_app()
except ConfigError as error:
    if "--explain" in sys.argv:  # the start fails, and why is what is asked
        print(*explained(), sep="\n")  # noqa: T201
    sys.exit(f"{error}")
