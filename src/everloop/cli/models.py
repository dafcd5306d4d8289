"""Commands of the registry: models list / show / register / adopt / alias / promote / deprecate, best, package."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from everloop.cli.frame import answer_no, command, emit, facts, human_bytes, say, table, workspace

if TYPE_CHECKING:
    from everloop.domain.models import Best, ModelVersionRecord, Package, Promotion


@click.group()
def models() -> None:
    """Registered models: versions, aliases, gates."""


@command("list")
def list_() -> None:
    """All registered models."""
    found = workspace().registry.models()
    columns = ["model", "versions", "latest", "aliases", "updated"]
    rows = [
        (each.name, each.versions, f"v{each.latest}", _aliases(each.aliases), each.updated) for each in found
    ]
    empty = "no models yet; register one: everloop models register RUN --name NAME"
    emit({"models": found}, lambda _: table(columns, rows, right=["versions"], empty=empty))


@command()
@click.argument("reference")
def show(reference: str) -> None:
    """One version (NAME@champion, NAME@v3) with its gates and card, or all versions of NAME."""
    registry = workspace().registry
    if "@" not in reference:
        found = registry.versions(reference)
        columns = ["version", "aliases", "state", "kind", "run", "created"]
        rows = [
            (f"v{each.version}", ", ".join(each.aliases), each.state, each.model.kind, each.run, each.created)
            for each in found
        ]
        history = registry.alias_history(reference)
        emit(
            {"versions": found, "alias_history": history},
            lambda _: table(columns, rows, title=f"model:{found[0].name}"),
        )
        return
    version = registry.version(reference)
    promotions = registry.promotions(version.reference)
    card = registry.card(version.reference) if version.card is not None else None
    value = {"version": version, "promotions": promotions, "card": card}

    def human(_: object) -> object:
        from rich.console import Group

        from everloop.registry.cards import markdown

        parts: list[Any] = [_facts(version)]
        parts += [_gates(each) for each in promotions[:1]]
        if card is not None:
            parts += ["", markdown(card)]
        return Group(*parts)

    emit(value, human)


@command()
@click.argument("run")
@click.option("--name", required=True, help="The model's name.")
@click.option("--artifact", default="model", show_default=True, help="The model's folder in the run.")
@click.option("--description", default="", help="A sentence about this version.")
def register(run: str, name: str, artifact: str, description: str) -> None:
    """Make the model of RUN the next version of a name. Refused while its provenance is not whole."""
    made = workspace(write=True).registry.register(run, name, artifact, description)
    emit(made, lambda value: f"registered {value.reference}, trained on {', '.join(value.data)}")


@command()
@click.argument("reference")
@click.argument("alias")
@click.option("--reason", default="", help="Why; kept in the alias's history.")
@click.option("--remove", is_flag=True, help="Take the alias away from the model instead.")
def alias(reference: str, alias: str, reason: str, remove: bool) -> None:
    """Let ALIAS mean REFERENCE, without asking gates; `promote` asks them."""
    registry = workspace(write=True).registry
    if remove:
        registry.remove_alias(reference, alias, reason)
        emit(
            {"model": reference, "alias": alias, "version": None}, lambda _: f"{alias} means nothing any more"
        )
        return
    changed = registry.set_alias(reference, alias, reason)
    emit(changed, lambda value: f"{alias} means {value.reference}")


@command()
@click.argument("reference")
@click.option("--to", "alias", default="champion", show_default=True, help="The alias asked for.")
@click.option(
    "--gates", "module", help="The file or module that declares the gates, instead of the project's."
)
@click.option("--because", default="", help="Why; kept in the alias's history.")
def promote(reference: str, alias: str, module: str | None, because: str) -> None:
    """Ask the gates whether REFERENCE may have an alias; record what each said. Exit code 1 when refused."""
    found = workspace(write=True)
    declared = _declared(found.project, module, found.registry.version(reference).name) if module else None
    say(f"asking the gates of {reference}")
    promotion = found.registry.promote(reference, alias, gates=declared, because=because)
    emit(promotion, _gates)
    if not promotion.allowed:
        answer_no()


@command()
@click.argument("reference")
@click.option("--trust", is_flag=True, help="Load a pickle, which runs its author's code.")
def adopt(reference: str, trust: bool) -> None:
    """Give a version that a client of MLflow logged what serving and packaging need.

    It is loaded once, here, kept as skops, and proven to answer the same; no server loads a pickle.
    """
    made = workspace(write=True).registry.make_servable(reference, trust=trust)
    takes = ", ".join(made.model.signature.names)
    emit(made, lambda value: f"{value.reference} can answer at an endpoint; it takes {takes}")


@command()
@click.argument("reference")
@click.option("--reason", default="", help="Why.")
def deprecate(reference: str, reason: str) -> None:
    """Say that a version is not to be used any more."""
    changed = workspace(write=True).registry.deprecate(reference, reason)
    emit(changed, lambda value: f"{value.reference} is deprecated")


@command()
@click.argument("model")
@click.option("--metric", default="", help="Choose by this metric instead of the task's own.")
def best(model: str, metric: str) -> None:
    """Which version of MODEL is the good one, by which rule, with intervals."""
    emit(workspace().registry.best(model, metric=metric), _best)


@command()
@click.argument("reference")
@click.option("--target", default="folder", show_default=True, help="What to build.")
@click.option("--out", type=click.Path(path_type=Path), default=None, help="Where; by default NAME-vN here.")
@click.option("--verify/--no-verify", default=True, show_default=True, help="Prove it in a fresh process.")
def package(reference: str, target: str, out: Path | None, verify: bool) -> None:
    """Build a model for another place, and prove that it answers there as here."""
    built = workspace().registry.package(reference, target, out=out or "", verify=verify)

    def human(value: Package) -> str:
        proof = "not verified"
        if value.parity is not None:
            proof = f"a fresh process answered {value.parity.rows} rows, off by {value.parity.max_abs:g}"
        return f"{value.reference} is in {value.path} ({human_bytes(value.bytes)}); {proof}"

    emit(built, human)


def _declared(project: Path, module: str, name: str) -> Any:
    from everloop.domain.gates import GateSet
    from everloop.errors import InvalidDefinition, nearest
    from everloop.governance.definitions import declared, load

    sets = declared(load(module, project), GateSet)
    for found in sets:
        if found.model == name:
            return found
    hint = nearest(name, [each.model for each in sets]) or "declare some with ev.gates(…)"
    raise InvalidDefinition(f"{module} declares no gates for the model '{name}'", hint=hint)


def _aliases(aliases: dict[str, int]) -> str:
    return ", ".join(f"{alias} = v{version}" for alias, version in aliases.items())


def _facts(version: ModelVersionRecord) -> Any:
    return facts(
        [
            ("reference", version.reference),
            ("aliases", ", ".join(version.aliases) or "none"),
            ("state", version.state),
            ("model", version.model.kind),
            ("takes", ", ".join(version.model.signature.names)),
            ("gives", ", ".join(field.name for field in version.model.signature.outputs)),
            ("run", f"run:{version.run}" if version.run else version.source or "none"),
            ("data", ", ".join(version.data)),
            ("commit", version.commit or "not committed"),
            ("size", human_bytes(version.size)),
            ("created", version.created),
            ("by", version.user),
        ]
    )


def _gates(promotion: Promotion) -> Any:
    verdict = "allowed" if promotion.allowed else "refused"
    rows = [("passed" if gate.passed else "REFUSED", gate.name, gate.reason) for gate in promotion.gates]
    title = f"{promotion.reference} -> {promotion.alias}: {verdict}"
    return table(["gate", "name", "why"], rows, title=title)


def _best(found: Best) -> Any:
    columns = ["version", "aliases", "value", "against the best", "interval", "note"]
    rows = []
    for each in found.candidates:
        interval = f"[{each.behind_low:+.4f}, {each.behind_high:+.4f}]" if each.behind_low is not None else ""
        behind = f"{each.behind:+.4f}" if each.behind is not None else ""
        mark = " *" if each.reference == found.reference else ""
        rows.append((each.reference + mark, ", ".join(each.aliases), each.value, behind, interval, each.note))
    return table(columns, rows, right=["value", "against the best"], title=f"{found.reference}: {found.rule}")


for each in (list_, show, register, adopt, alias, promote, deprecate):
    models.add_command(each)
