"""What is done to files that are closed or were left behind, all of it or nothing."""
