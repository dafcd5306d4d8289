"""MLflow's stores: `files` reads mlruns folders, `database` what its SQL store wrote, `server` a running one; `exporting`
writes an mlruns folder. `opening.open_source` tells which of them a path or address asks for."""
