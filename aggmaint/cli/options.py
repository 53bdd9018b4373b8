"""Options that several commands share."""

import click

from ..config import CONFIG_NAME

config_option = click.option(
    "--config",
    "config_path",
    default=CONFIG_NAME,
    show_default=True,
    envvar="AGGMAINT_CONFIG",
    type=click.Path(dir_okay=False),
    help="The configuration file.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
optional_org = click.argument("org", required=False)
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Only show what the job would do.")
