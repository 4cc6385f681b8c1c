"""How far a walk over a source's runs has come, for one that is cut.

Revision: 0004, after 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "walks",
        sa.Column("source", sa.Text, primary_key=True),
        sa.Column("position", sa.Text, nullable=False),
        sa.Column("noted_at", sa.Text, nullable=False),
    )
