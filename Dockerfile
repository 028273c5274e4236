# One image for every process: the command decides which one a container is. docker-compose.yml runs
# one service per process; `docker run --init penstock` alone runs all of them under the supervisor.
#
# BASE is any Debian-like image with Python 3.11 or newer and its venv module.
ARG BASE=python:3.12-slim-bookworm

# --- build: the virtual environment, with the C core -----------------------------------------------
FROM ${BASE} AS build
RUN if ! command -v gcc >/dev/null || ! python3 -c 'import sysconfig, os, sys; \
        sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))'; then \
        apt-get update \
        && apt-get install --yes --no-install-recommends gcc libc6-dev \
            $(test -x /usr/local/bin/python3 || echo python3-dev) \
        && rm -rf /var/lib/apt/lists/*; \
    fi
WORKDIR /app
RUN python3 -m venv /venv
COPY pyproject.toml setup.py constraints.txt README.md penstock.toml ./
COPY venue venue
COPY cache cache
COPY feeds feeds
COPY strategy strategy
COPY executor executor
COPY host host
COPY sim sim
COPY bench bench
RUN PENSTOCK_BUILD_CORE=1 /venv/bin/pip install --no-cache-dir --disable-pip-version-check \
        --constraint constraints.txt --editable . \
    && PENSTOCK_CORE=1 /venv/bin/python -c 'import cache.core, feeds.core' \
    && /venv/bin/python -m compileall -q venue cache feeds strategy executor host sim bench

# --- run: no compiler, no root ---------------------------------------------------------------------
FROM ${BASE}
RUN useradd --system --uid 10001 --user-group --no-create-home penstock
COPY --from=build /venv /venv
COPY --from=build /app /app
WORKDIR /app
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PENSTOCK_CORE=1
USER penstock
STOPSIGNAL SIGTERM
CMD ["penstock", "up", "--plain"]
