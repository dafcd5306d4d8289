"""The server as a process: how it starts, whom it refuses, how it stops."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx

from everloop.workspace.local import LocalWorkspace


def up(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "EVERLOOP_WORKSPACE": str(folder)}
    program = [sys.executable, "-m", "everloop", "up", *arguments]
    return subprocess.Popen(
        program, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_it_says_its_address_once_it_answers_and_drains_on_ctrl_c(tmp_path: Path) -> None:
    process = up(tmp_path, "--port", "0")
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        address = next(word for word in line.split() if word.startswith("http://127.0.0.1:"))
        assert httpx.get(f"{address}/health").json() == {"status": "ok"}
        process.send_signal(signal.SIGINT)
        assert process.wait(15) in (0, 130)
    finally:
        process.kill()
        process.communicate()


def test_others_are_let_in_only_with_a_token(tmp_path: Path) -> None:
    refused = up(tmp_path, "--host", "0.0.0.0", "--port", "0")
    _, said = refused.communicate(timeout=30)
    assert refused.returncode == 2
    assert "everloop token create" in said
    with LocalWorkspace(tmp_path) as workspace:
        secret = workspace.governance.create_token("ann", "owner").secret
    process = up(tmp_path, "--host", "0.0.0.0", "--port", "0")
    try:
        assert process.stdout is not None
        port = process.stdout.readline().split()[3].rpartition(":")[2]
        url = f"http://127.0.0.1:{port}/api/v1/governance/whoami"
        assert httpx.post(url).status_code == 401
        answer = httpx.post(url, headers={"Authorization": f"Bearer {secret}"})
        assert answer.json() == {"user": "ann", "role": "owner"}
    finally:
        process.kill()
        process.communicate()


def test_a_port_in_use_is_one_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        process = up(tmp_path, "--port", str(taken.getsockname()[1]))
        _, said = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "cannot listen" in said
    assert "Traceback" not in said
