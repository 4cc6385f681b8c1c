"""What is known of jobs: whether the vendor still lists them, and which of their runs failed there.

Revision: 0002, after 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "jobs",
        sa.Column("source", sa.Text, primary_key=True),
        sa.Column("job", sa.Text, primary_key=True),
        sa.Column("is_listed", sa.Boolean, nullable=False),
        sa.Column("asked_at", sa.Text),
        sa.Column("failures", sa.JSON, nullable=False),
    )
