"""The files that take longest begin first, so that at the end of a run no worker sits over one of them while the others are done.

`make` hands out whole files (``--dist loadfile``) in the order of collection (``--no-loadscope-reorder``; without it those of
most tests would come first, and the longest files have few). A file belongs here from about ten seconds on.
"""

from __future__ import annotations

from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
LONGEST = (
    "wire/test_mlflow_clients.py",
    "rooms/test_demo_flights.py",
    "crash/test_pipelines_harness.py",
    "contracts/test_ledger.py",
    "wire/test_prediction_server.py",
    "rooms/test_rollout_served.py",
    "rooms/test_data_checks_rules.py",
    "rooms/test_features_online.py",
    "contracts/test_tracking.py",
    "crash/test_data_stores_kill.py",
    "rooms/test_pipelines_reproduce.py",
    "rooms/test_pipelines.py",
    "rooms/test_tracking_direct.py",
    "rooms/test_tracking_search.py",
    "rooms/test_triggers_processes.py",
    "exchange/test_checks.py",
    "rooms/test_sweeps.py",
    "rooms/test_serving.py",
    "rooms/test_sweeps_parallel.py",
    "crash/test_prediction_log_kill.py",
    "rooms/test_monitoring_alarms.py",
    "rooms/test_pipelines_remote.py",
    "crash/test_tracking_faults.py",
    "rooms/test_reproduction.py",
    "crash/test_tracking_harness.py",
    "rooms/test_init.py",
    "rooms/test_data_stores.py",
    "crash/test_tracking_kill.py",
    "rooms/test_data_infer.py",
    "rooms/test_registry.py",
    "rooms/test_registry_formats.py",
    "rooms/test_tracking_autolog.py",
    "rooms/test_features_on_demand.py",
    "rooms/test_pipelines_command.py",
    "wire/test_server_process.py",
    # a run of their own
    "pages/test_every_page.py",
    "pages/test_runs_pages.py",
    "pages/test_actions.py",
    "pages/test_using_them.py",
    "pages/test_labels_pages.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ranks = {TESTS / name: rank for rank, name in enumerate(LONGEST)}
    if gone := [path for path in ranks if not path.exists()]:
        raise pytest.UsageError(f"{Path(__file__).name} names what is not there: {gone}")
    items.sort(key=lambda item: ranks.get(item.path, len(ranks)))
