"""A run as xarray has it: counts with their energies, channels, motor positions and times; lazily, from any catalog.

    from bluesky_streamdet.analysis import arrivals, images, ledgers, maps, numbers, spectra

    spectra(db[-1]).sel(energy=slice(6200, 6600)).sum("energy").compute()
    maps(db[-1], ["Fe", "Zn Ka"])["Fe"].plot()
    ledgers(db[-1])[0].verdict

A run is `db[-1]` of a Tiled catalog, of databroker 2, or of databroker 1.2.5. Nothing here starts a thread or a server,
or writes anything. Needs the extra `analysis`.
"""

from bluesky_streamdet.core.extras import extra

with extra("analysis", "Runs as arrays"):
    from bluesky_streamdet.analysis.arrays import images, maps, numbers, spectra
    from bluesky_streamdet.analysis.ledgers import arrivals, ledgers

__all__ = ["arrivals", "images", "ledgers", "maps", "numbers", "spectra"]
