"""Job files, a loss and a scorer as their authors would write them."""
