# The job service and the workers that collect rollouts.
FROM python:3.11-slim-bookworm
RUN useradd --uid 10001 --home-dir /tmp --no-create-home assay
ENV PYTHONPATH=/assay PYTHONUNBUFFERED=1
WORKDIR /assay
COPY pyproject.toml constraints.txt README.md ./
RUN pip install --no-cache-dir --constraint constraints.txt '.[queue]'
COPY protos protos
COPY services services
USER 10001:10001
EXPOSE 50057 51057
CMD ["python", "-m", "services.jobs", "--host", "0.0.0.0"]
