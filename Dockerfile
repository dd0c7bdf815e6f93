# syntax=docker/dockerfile:1
# Another base, such as one by its digest: --build-arg PYTHON_IMAGE=python:3.13-slim@sha256:…
ARG PYTHON_IMAGE=python:3.13-slim
FROM ${PYTHON_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python3 -m venv /venv
COPY constraints.txt /src/
RUN /venv/bin/pip install --require-hashes -r /src/constraints.txt && /venv/bin/pip uninstall --yes pip
COPY demo /src/app/demo
COPY templates /src/app/templates
COPY static /src/app/static
# What a visitor takes along comes with its tests.
COPY tests /src/app/tests
COPY examples /src/app/examples
# The documentation is pages of the app, and so are the files to which it leads.
COPY docs /src/app/docs
COPY deploy /src/app/deploy
COPY wsgi.py gunicorn.conf.py LICENSE README.md CHANGELOG.md compose.yaml pyproject.toml requirements.txt requirements-dev.txt /src/app/
# Bytecode is made here: the root is read-only where it runs.
RUN cd /src/app && /venv/bin/python -m compileall -q /venv/lib . && /venv/bin/python -m demo.web.templating

FROM ${PYTHON_IMAGE}
ENV PATH=/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PORT=8000 DEMO_INSTANCE_PATH=/data DEMO_LOG_FORMAT=json
RUN useradd --system --uid 10001 --no-create-home --home-dir /nonexistent demo && install -d -o demo -g demo -m 700 /data
COPY --from=build /venv /venv
COPY --from=build /src/app /app
WORKDIR /app
USER 10001
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
  CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + (os.environ.get('PORT') or '8000') + '/livez', timeout=2)"]
CMD ["gunicorn"]
