"""The prediction server: a process of its own that answers from an endpoint's folder and writes to its log.

- `run`: `python -m everloop.serving.server FOLDER --port P`
- `app`: the routes, as a plain ASGI application
- `requests`: what came in, whatever the protocol: `native`, `invocations` (MLflow, SageMaker), `inference` (Open Inference v2)
- `arms`: the loaded models, and which rows each of them answers
- `answering`: one request from rows to logged answer
- `shadow`: arms whose answers nobody gets
- `logbook`: the prediction log being written
- `watch`: a new deployment is noticed, checked, loaded and swapped in
- `metrics`: figures for Prometheus
"""
