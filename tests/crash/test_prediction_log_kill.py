"""kill -9 of a prediction server: no answer that a caller has got is missing from the log."""

import os
import signal
import subprocess
import sys
import threading

import httpx
import psutil
from tests.wire.prediction_servers import Started, deploy_by_hand, save_flights_model, training_rows

from everloop.domain.deployments import Arm
from everloop.serving.predictions import Segment, joined


def test_acknowledged_predictions_survive_a_kill(tmp_path):
    save_flights_model(tmp_path / "model", depth=1)
    folder = tmp_path / "delay"
    deploy_by_hand(folder, {"model:delay@v1": tmp_path / "model"}, [Arm("champion", "model:delay@v1")])
    rows, answered = training_rows(20), []

    def ask(url: str, enough: threading.Event) -> None:
        with httpx.Client(base_url=url, timeout=30) as client:
            try:
                while True:
                    reply = client.post("/predict", json={"rows": rows})
                    answered.extend(each["prediction_id"] for each in reply.json()["predictions"])
                    if len(answered) > 400:
                        enough.set()
            except httpx.HTTPError:  # the server is gone
                enough.set()

    for _ in range(2):  # the second server begins a segment of its own beside the torn one
        before = len(answered)
        with Started(folder) as server:
            enough = threading.Event()
            threads = [threading.Thread(target=ask, args=(server.url, enough)) for _ in range(2)]
            for thread in threads:
                thread.start()
            assert enough.wait(60)
            os.kill(server.process.pid, signal.SIGKILL)
            for thread in threads:
                thread.join()
        assert len(answered) > before
    logged = joined(
        [part.rows for path in (folder / "log").glob("*.journal") for part in Segment(path).parts()]
    )
    assert set(answered) <= set(logged["prediction_id"].to_pylist())


def test_a_server_ends_with_the_process_that_started_it(tmp_path):
    save_flights_model(tmp_path / "model", depth=1)
    folder = tmp_path / "delay"
    deploy_by_hand(folder, {"model:delay@v1": tmp_path / "model"}, [Arm("champion", "model:delay@v1")])
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom everloop.serving.process import start\n"
        "print(start(Path(sys.argv[1])).pid, flush=True)\ntime.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    child.wait(30)
    assert not (folder / "server.json").exists()
