"""DVC: repositories come in with their history, and versions go out as `.dvc` files with their cache.

- `tracked`: what `.dvc`, `dvc.lock` and `dvc.yaml` say
- `history`: the commits of the git repository
- `caches`: where DVC keeps bytes, and how they are checked
- `importing`, `exporting`: there and back
"""
