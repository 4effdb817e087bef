"""What `make run` trains: a tiny model, made on the spot, on sums and one-line functions."""
