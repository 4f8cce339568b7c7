"""Options of `qpipe export` for a repository on the hub and its model card."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qpipe.session.publishing import Publishing


def add(parser: argparse.ArgumentParser) -> None:
    """Add ``--repo``, ``--upload``, ``--dry-run``, …, and what a card says of a model."""
    hub = parser.add_argument_group("a repository on the hub (--to hf), and its card (--to card)")
    hub.add_argument("--repo", metavar="OWNER/NAME", help="the repository, for the card's commands")
    hub.add_argument("--upload", action="store_true", help="send the folder there")
    hub.add_argument("--private", action="store_true", help="a new repository is private")
    hub.add_argument(
        "--dry-run", action="store_true", help="only say which files would be new or replaced there"
    )
    hub.add_argument("--base-model", metavar="OWNER/NAME", help="the model that this is a copy of")
    hub.add_argument("--quantized-by", metavar="NAME", help="your account, if you do not upload")
    hub.add_argument("--license", metavar="ID", help="its licence as the hub calls it: apache-2.0")
    hub.add_argument("--license-name", metavar="NAME", help="of --license other: what it is called")
    hub.add_argument("--license-link", metavar="URL", help="of --license other: where its text is")
    hub.add_argument(
        "--accept-license",
        action="store_true",
        help="upload under a licence that forbids it, or that no table here knows",
    )


def read(args: argparse.Namespace) -> Publishing:
    """Return what was asked for."""
    from qpipe.session import publishing

    return publishing.asked(
        licence=(args.license, args.license_name, args.license_link),
        repository=args.repo,
        base_model=args.base_model,
        quantized_by=args.quantized_by,
        accepted=args.accept_license,
        upload=args.upload,
        private=args.private,
        dry_run=args.dry_run,
    )
