"""The scoring services as JSON over HTTP, for those who do not speak gRPC. `assay serve --http` serves it."""
