"""Commands whose exit status 2 has a meaning of its own: what is wrong with their command line ends them with 1."""

from typing import Any

import click

from teleport.core.errors import TeleportError

__all__ = ["ExitsWithOne"]


class ExitsWithOne(click.Command):
    """A command of `tctl policy` that ends with 1 whatever the error is."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        try:
            return super().make_context(*args, **kwargs)
        except click.exceptions.NoArgsIsHelpError:
            raise
        except click.UsageError as error:
            message = error.format_message().rstrip(".")
            raise TeleportError(
                f"{message[:1].lower()}{message[1:]}", hint=f"tctl policy {self.name} --help shows how"
            ) from None

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except TeleportError as error:
            if error.exit_status == TeleportError.exit_status:
                raise
            raise TeleportError(error.message, hint=error.hint, details=error.details) from error
