"""Files of other tools that are pipelines already: `everloop run dvc.yaml` and `everloop run MLproject` work as they are.

- `commands`: a command that is run in the project's folder, with the files it needs and makes
- `documents`: what such a file says
- `templates`: ``${…}`` of dvc.yaml
- `dvc`: stages of a dvc.yaml as a pipeline
- `mlproject`: an entry point of an MLproject as a pipeline
"""
