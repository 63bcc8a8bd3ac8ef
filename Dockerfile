# The image of otpservice: the runtime alone, without the demo and without build tools.
#
#   docker build -t otpservice .
#   docker run --rm otpservice keys new signup
#
# Settings are looked for at /etc/otpservice/otpservice.toml; config/compose.yaml shows a whole installation.

# One line for both stages: the environment made in the first refers to the Python of the second.
FROM python:3.13-slim AS base


FROM base AS build

WORKDIR /src
COPY pyproject.toml README.md ./
COPY otpservice ./otpservice
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

# Without pip in it, and from wheels alone: what would have to be compiled here has no compiler, so it fails at once.
RUN python -m venv --without-pip /opt/otpservice
RUN pip --python /opt/otpservice/bin/python install --no-cache-dir --only-binary=:all: /wheels/*.whl


FROM base

# A fixed uid, and a number below: an orchestrator can see that it is not root, and mounts can be given to it.
RUN groupadd --gid 10001 otpservice \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin otpservice

# Owned by root: the service cannot change its own code.
COPY --from=build /opt/otpservice /opt/otpservice

# Nothing is written at run time, so the root filesystem may be read-only.
ENV PATH=/opt/otpservice/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    OTPSERVICE_CONFIG=/etc/otpservice/otpservice.toml

USER 10001:10001
EXPOSE 8080

# For `serve` on its usual port. `worker` answers no HTTP: start it with --no-healthcheck, or see compose.yaml.
# /healthz and not /readyz, as a restart does not help where Valkey is down. No proxy: this never leaves the container.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-Ic", "from urllib.request import ProxyHandler, build_opener; \
build_opener(ProxyHandler({})).open('http://127.0.0.1:8080/healthz', timeout=3)"]

# As lists and not through a shell, which would keep SIGTERM to itself.
ENTRYPOINT ["otpservice"]
CMD ["serve"]
