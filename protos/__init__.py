"""The wire protocol `assay.v1`: the `.proto` files, and the code generated from them under `protos.gen`."""
