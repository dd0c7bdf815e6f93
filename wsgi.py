"""`flask --app wsgi run` and `gunicorn wsgi:app` find the app here."""

import sys

from demo.app import create_app
from demo.config import ConfigError

try:
    app = create_app()
except ConfigError as error:
    sys.exit(f"{error}")
