"""In a workspace without anything, a list says how to begin."""

import pytest
from click.testing import CliRunner

from everloop.cli.main import cli


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("data list", "everloop data add"),
        ("features list", "ev.feature_view"),
        ("models list", "everloop models register"),
        ("monitors list", "ev.monitor"),
        ("alerts list", "no alerts"),
        ("loop policies", "ev.policy"),
        ("loop history", "no model was retrained"),
        ("triggers list", "ev.trigger"),
        ("label list", "everloop label create"),
        ("token list", "everloop token create"),
        ("runs list", "no runs"),
    ],
)
def test_an_empty_list_says_how_to_begin(workspace, monkeypatch, command, says):
    monkeypatch.chdir(workspace.project)
    done = CliRunner().invoke(cli, command.split())
    assert done.exit_code == 0, done.output
    assert says in done.output
