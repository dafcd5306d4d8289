"""The calls that `bench_wire` times, through MLflow's own client. Prints a line of JSON for each operation when it is done.

python wire_client.py URL SECONDS
"""

import json
import os
import sys
import time

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")

import mlflow
from mlflow.entities import Metric, Param


def rate(name, seconds, operation, weight=1):
    """How often an operation runs in a second, how many calls that were, and the client's own processor time for one, in
    milliseconds."""
    operation(0)  # the connection, and what is imported on first use
    done, begin, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - begin < seconds:
        done += 1
        operation(done)
    told = {
        "name": name,
        "calls": done + 1,
        "rate": done * weight / (time.perf_counter() - begin),
        "client_ms": (time.process_time() - cpu) / done * 1000,
    }
    print(json.dumps(told), flush=True)


def main(url, seconds):
    mlflow.set_tracking_uri(url)
    client = mlflow.MlflowClient(url)
    experiment = client.create_experiment(f"bench {os.getpid()}")
    run = client.create_run(experiment).info.run_id
    now = int(time.time() * 1000)

    def batch(number):
        points = [Metric("loss", step * 0.5, now, number * 1000 + step) for step in range(1000)]
        client.log_batch(run, metrics=points)

    def whole_run(number):
        made = client.create_run(experiment).info.run_id
        client.log_batch(
            made,
            params=[Param(f"p{each}", str(each + number)) for each in range(10)],
            metrics=[Metric(f"m{each}", each + number, now, 0) for each in range(10)],
        )
        client.set_terminated(made)

    print(json.dumps({"name": "ready"}), flush=True)
    rate("log_metric, calls", seconds, lambda step: client.log_metric(run, "loss", 0.5, step=step))
    rate("log_param, calls", seconds, lambda number: client.log_param(run, f"p{number}", number))
    rate("log_batch of 1,000, metrics", seconds, batch, 1000)
    rate("run with 10 params and 10 metrics", seconds, whole_run)
    rate("get_run", seconds, lambda _: client.get_run(run))
    best = {"filter_string": "metrics.m1 > 3", "order_by": ["metrics.m1"], "max_results": 100}
    rate("search_runs, 100 by a metric", seconds, lambda _: client.search_runs([experiment], **best))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
