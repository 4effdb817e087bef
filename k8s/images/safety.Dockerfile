# The safety scorer, with the models it needs.
FROM python:3.11-slim-bookworm
RUN useradd --uid 10001 --home-dir /tmp --no-create-home assay
ENV PYTHONPATH=/assay PYTHONUNBUFFERED=1
WORKDIR /assay
COPY pyproject.toml constraints.txt README.md ./
# torch first; PIP_EXTRA_INDEX_URL names the index of its CPU builds (k8s/README.md).
ARG PIP_EXTRA_INDEX_URL
RUN pip install --no-cache-dir --constraint constraints.txt torch==2.13.0
RUN pip install --no-cache-dir --constraint constraints.txt '.[safety]'
COPY protos protos
COPY services services
ENV HF_HUB_OFFLINE=1
USER 10001:10001
EXPOSE 50053 51053
CMD ["python", "-m", "services.safety", "--host", "0.0.0.0"]
