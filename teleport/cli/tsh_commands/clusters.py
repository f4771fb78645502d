"""`tsh clusters`: where somebody can go."""

import click

from teleport.cli import profile as p
from teleport.cli.options import output_option
from teleport.core.output import table, to_json, write

__all__ = ["clusters"]


@click.command()
@output_option()
def clusters(form: str) -> None:
    """List your cluster and those that trust it and that your roles reach.

    Example: tsh clusters && tsh ls --cluster leaf.example.com
    """
    from teleport.cli.clusters import known_clusters

    profile = p.current()
    rows, chosen = known_clusters(profile), p.chosen(profile) or profile.cluster
    if form == "json":
        write(to_json([{**row.model_dump(mode="json"), "selected": row.name == chosen} for row in rows]))
        return
    shown = [
        (
            row.name, row.kind, row.status, ", ".join(f"{key}={value}" for key, value in sorted(row.labels.items())),
            "*" if row.name == chosen else "",
        )
        for row in rows
    ]  # fmt: skip
    write(table(("Cluster", "Kind", "Status", "Labels", "Selected"), shown))
