# A scorer of your own: the server, and your package beside it. Add what your scorer imports to the pip line.
FROM python:3.11-slim-bookworm
RUN useradd --uid 10001 --home-dir /tmp --no-create-home assay
ENV PYTHONPATH=/assay PYTHONUNBUFFERED=1
WORKDIR /assay
COPY pyproject.toml constraints.txt README.md ./
RUN pip install --no-cache-dir --constraint constraints.txt '.[services]'
COPY protos protos
COPY services services
COPY examples/scorers examples/scorers
USER 10001:10001
EXPOSE 50058 51058
CMD ["python", "-m", "services.scorer", "--host", "0.0.0.0", "--scorer", "examples.scorers.brevity:Brevity"]
