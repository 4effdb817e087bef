# The judge. It runs no model: it asks one over HTTP.
FROM python:3.11-slim-bookworm
RUN useradd --uid 10001 --home-dir /tmp --no-create-home assay
ENV PYTHONPATH=/assay PYTHONUNBUFFERED=1
WORKDIR /assay
COPY pyproject.toml constraints.txt README.md ./
RUN pip install --no-cache-dir --constraint constraints.txt '.[judge]'
COPY protos protos
COPY services services
USER 10001:10001
EXPOSE 50059 51059
CMD ["python", "-m", "services.judge", "--host", "0.0.0.0"]
