#!/bin/sh
# Makes repository.tar.xz: a small repository kept by real DVC, with its git history, cache and a remote that is a folder.
# Needs `git` and `dvc` (3.67.1 made the one here) on the PATH. Nothing of the machine gets in: names, times and paths are fixed.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HOME="$work" GIT_CONFIG_NOSYSTEM=1 DVC_NO_ANALYTICS=1 DVC_GLOBAL_CONFIG_DIR="$work/c" DVC_SYSTEM_CONFIG_DIR="$work/c" DVC_SITE_CACHE_DIR="$work/s"
mkdir -p "$work/kept/project" "$work/kept/remote"
cd "$work/kept/project"

commit() { # TIME AUTHOR MESSAGE
    git add -A
    GIT_AUTHOR_DATE="$1" GIT_COMMITTER_DATE="$1" git -c user.name="$2" -c user.email="$2@example.org" commit -q -m "$3"
}

git init -q -b main .
dvc init -q
dvc config core.analytics false
dvc remote add -q -d storage ../remote
commit 2024-01-01T09:00:00+00:00 ada "Begin"

mkdir -p data/images/cats
printf 'id,label\n1,cat\n2,dog\n' > data/labels.csv
printf 'not,really,a,picture' > data/images/1.png
printf 'meow' > "data/images/cats/größe 2.png"
dvc add -q data/labels.csv data/images
commit 2024-01-02T09:00:00+00:00 ada "First labels and images"
dvc push -q

printf 'id,label\n1,cat\n2,dog\n3,cat\n' > data/labels.csv
dvc add -q data/labels.csv
commit 2024-01-03T09:00:00+00:00 grace "A third label"
dvc push -q

git checkout -q -b more
printf 'woof' > data/images/3.png
dvc add -q data/images
commit 2024-01-04T09:00:00+00:00 ada "A dog"
git checkout -q main

cat > count.py <<'PY'
import pathlib, sys
lines = pathlib.Path("data/labels.csv").read_text().splitlines()[1:]
pathlib.Path("out").mkdir(exist_ok=True)
pathlib.Path("out/count.txt").write_text(str(len(lines)))
PY
cat > dvc.yaml <<'YAML'
stages:
  count:
    cmd: python3 count.py
    deps:
      - count.py
      - data/labels.csv
    outs:
      - out
YAML
dvc repro -q
commit 2024-01-05T09:00:00+00:00 grace "Count them"
GIT_AUTHOR_DATE=2024-01-06T09:00:00+00:00 GIT_COMMITTER_DATE=2024-01-06T09:00:00+00:00 \
    git -c user.name=ada -c user.email=ada@example.org merge -q --no-ff -m "Merge the dog" more
dvc checkout -q

printf 'id,label\n1,cat\n2,dog\n3,cow\n' > data/labels.csv
dvc add -q data/labels.csv
commit 2024-01-07T09:00:00+00:00 ada "The third is a cow"
printf 'id,label\n1,cat\n2,dog\n3,cow\n4,bee\n' > data/labels.csv
dvc add -q data/labels.csv
dvc repro -q
commit 2024-01-08T09:00:00+00:00 ada "Bees count"

# The first labels are in the remote only, those with the cow are lost everywhere.
remove() { # FOLDER CONTENT
    md5=$(printf "$2" | md5sum | cut -c1-32)
    rm -f "$1/files/md5/$(echo "$md5" | cut -c1-2)/$(echo "$md5" | cut -c3-)"
}
remove .dvc/cache 'id,label\n1,cat\n2,dog\n'
remove .dvc/cache 'id,label\n1,cat\n2,dog\n3,cow\n'
rm -rf .dvc/tmp .git/hooks .git/logs
git gc -q --prune=now
cd "$work/kept"
chmod -R u+w .
tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=2024-01-09 -cJf "$here/repository.tar.xz" project remote
