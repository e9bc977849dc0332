"""What CrystFEL's indexamajig needs: frames for its workers, with peaks, a geometry file, and its command line."""
