# One image for every agent of Locution, and for the one-shot service that makes certificates and secrets.
#
#   docker build --tag locution .                             # PyTorch for the CPU
#   docker build --tag locution:cuda --build-arg TORCH=cuda . # PyTorch for NVIDIA GPUs, as PyPI has it
#
# What changes seldom comes first: a change of code makes the last two layers anew, in seconds.

ARG PYTHON=3.11-slim-bookworm

# -- What we depend on, in the versions of constraints.txt --------------------------------------------
FROM python:${PYTHON} AS dependencies
# cpu, cuda, or a build of PyTorch's own index such as cu126.
ARG TORCH=cpu
# Extras of pyproject.toml that nothing in a container needs.
ARG WITHOUT="dev interop owl"
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv --without-pip /opt/locution
WORKDIR /build
COPY constraints.txt ./
# PyTorch alone, because it is large and changes least.
RUN --mount=type=cache,target=/root/.cache/pip \
    version=$(sed -n 's/^torch==//p' constraints.txt) \
 && case "$TORCH" in \
        cuda) set -- "torch==$version" ;; \
        *) set -- "torch==$version+$TORCH" --extra-index-url "https://download.pytorch.org/whl/$TORCH" ;; \
    esac \
 && pip --python /opt/locution/bin/python install --quiet --constraint constraints.txt "$@"
COPY pyproject.toml ./
RUN --mount=type=cache,target=/root/.cache/pip \
    python -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
        extras = project['optional-dependencies'].items(); left = '$WITHOUT'.split(); \
        print(*project['dependencies'], *(each for name, all in extras if name not in left for each in all), \
        sep='\n')" > requirements.txt \
 && pip --python /opt/locution/bin/python install --quiet --constraint constraints.txt --requirement requirements.txt

# -- Our own code, as a wheel -------------------------------------------------------------------------
FROM python:${PYTHON} AS wheel
WORKDIR /build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
RUN --mount=type=cache,target=/root/.cache/pip pip install --quiet 'setuptools>=77' wheel
COPY . .
RUN pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /wheel .

# -- What runs ----------------------------------------------------------------------------------------
FROM python:${PYTHON}
LABEL org.opencontainers.image.title="Locution" \
      org.opencontainers.image.description="Agents that negotiate: FIPA ACL over XMPP" \
      org.opencontainers.image.licenses="MIT"
# The folders that volumes are laid over: a new volume takes over what is in the folder, and who owns it. Only an
# empty one would take that over once more, from the image of the next service.
RUN groupadd --gid 10001 locution \
 && useradd --uid 10001 --gid locution --home-dir /state --no-create-home --shell /usr/sbin/nologin locution \
 && install -d -o locution -g locution -m 700 /state /state/certificates \
 && install -d -o locution -g locution -m 755 /etc/locution /data \
        /volumes/accounts /volumes/prosody /volumes/prosody-data /volumes/redis /volumes/redis-data /volumes/consul-data \
        /volumes/prometheus-data /volumes/grafana /volumes/grafana-data \
 && for folder in /state/certificates /volumes/*; do install -o locution -g locution -m 644 /dev/null "$folder/.keep"; done
COPY --from=dependencies /opt/locution /opt/locution
ENV PATH=/opt/locution/bin:$PATH PYTHONUNBUFFERED=1
RUN --mount=type=bind,from=wheel,source=/wheel,target=/wheel \
    /usr/local/bin/pip --python /opt/locution/bin/python install --quiet --disable-pip-version-check \
        --root-user-action=ignore --no-deps --no-index /wheel/*.whl
USER 10001:10001
WORKDIR /etc/locution
ENTRYPOINT ["locution"]
CMD ["--help"]
