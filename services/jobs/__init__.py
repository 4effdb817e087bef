"""Training jobs: what a job is, where jobs are kept, and the service that takes them in."""
