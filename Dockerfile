# The image of one orchestrator: its Python environment, git and the pinned Claude Code CLI; no build tools.
# Needs BuildKit (Docker 23 and newer build with it). Another base: --build-arg PYTHON_IMAGE=python:3.13-slim
ARG PYTHON_IMAGE=python:3.12-slim

# --- our packages, every one by hash
FROM ${PYTHON_IMAGE} AS packages
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY requirements.txt requirements-build.txt ./
# Wheels only: nothing is compiled here, so no compiler is needed. The environment itself has no pip.
RUN python -m pip install -q --require-hashes --only-binary=:all: -r requirements-build.txt \
 && python -m venv --without-pip /opt/venv \
 && python -m pip --python /opt/venv/bin/python install -q --require-hashes --only-binary=:all: -r requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN python -m pip wheel -q --no-deps --no-index --no-build-isolation --wheel-dir /wheel . \
 && python -m pip --python /opt/venv/bin/python install -q --no-deps --no-index /wheel/*.whl

# --- the CLI: npm fetches it, the script compares it with its pin
FROM ${PYTHON_IMAGE} AS cli
RUN apt-get update -qq \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends ca-certificates npm >/dev/null
COPY scripts/install_claude.py /build/
RUN python /build/install_claude.py --into /opt/claude

# --- what runs
FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="orchestrator" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN apt-get update -qq \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends ca-certificates git >/dev/null \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log
RUN groupadd --gid 1000 orchestrator \
 && useradd --uid 1000 --gid 1000 --no-create-home --shell /usr/sbin/nologin orchestrator \
 && install -d -o orchestrator -g orchestrator -m 0755 /app \
 && install -d -o orchestrator -g orchestrator -m 0700 /app/data \
 && install -d /repos
# Root's, so that no agent can replace it: an agent runs under the same uid as the orchestrator. Nobody may read it: so
# the kernel closes its process's memory, where the model's credential is, to the agent's tools.
COPY --from=cli --chown=0:0 --chmod=0111 /opt/claude/claude /usr/local/bin/claude
COPY --from=packages /opt/venv /opt/venv
# Only the command goes into PATH. Agents inherit PATH, and `python` shall mean a clean one to them.
RUN ln -s /opt/venv/bin/orch /usr/local/bin/orch
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 LANG=C.UTF-8 \
    ORCH_HOST=0.0.0.0 \
    ORCH_PORT=8500 \
    ORCH_DATA_DIR=/app/data \
    ORCH_CONFIG=/app/orchestrator.yaml \
    ORCH_REPOS_DIR=/repos \
    ORCH_CLAUDE_BIN=/usr/local/bin/claude
WORKDIR /app
USER 1000:1000
EXPOSE 8500
STOPSIGNAL SIGTERM
# Python's own library: the image has no curl. /health is open, /ready would need the token.
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 CMD ["/opt/venv/bin/python", "-I", "-c", "\
import http.client, os; \
c = http.client.HTTPConnection('127.0.0.1', int(os.environ['ORCH_PORT']), timeout=4); \
c.request('GET', '/health'); \
raise SystemExit(c.getresponse().status != 200)"]
ENTRYPOINT ["orch"]
CMD ["serve"]
