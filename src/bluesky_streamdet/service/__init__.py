"""The control plane: how one steers a data plane. Configuration, supervision, REST, page, metrics, and the client."""
