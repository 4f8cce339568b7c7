"""card: the model card and its picture alone, for a repository that is filled by other means."""

from __future__ import annotations

from dataclasses import replace

from qpipe.export.card import assembled, picture
from qpipe.export.card.document import document
from qpipe.export.target import Export, Exported, ExportedFile, ExportTarget

CARD, PICTURE = "card.md", "card.png"


class CardTarget(ExportTarget):
    """card.md, with card.png where there is anything to draw."""

    name = "card"

    def refuse(self, export: Export) -> None:
        """Refuse what no one card can be of."""
        assembled.refuse(export)

    def write(self, export: Export) -> Exported:
        """Write the card, and draw its picture."""
        content = assembled.content(export, assembled.listed(export))
        names = [CARD]
        if picture.is_drawn(content.levels):
            (export.folder / PICTURE).write_bytes(picture.picture(content.levels))
            content = replace(content, picture=PICTURE)
            names.append(PICTURE)
        (export.folder / CARD).write_text(document(content), encoding="utf-8")
        return Exported([ExportedFile(name) for name in names])
