"""The data plane: where frames move. ZeroMQ and HDF5 live here, and nowhere else."""
