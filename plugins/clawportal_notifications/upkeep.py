"""What of notifications is dropped after a while."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete, func, select

from clawportal.sdk.data import db, now, transaction
from clawportal.sdk.fleet import Portal
from clawportal_notifications.models import WAITING, Delivery, Line
from clawportal_notifications.settings import NotificationSettings


def forget_old(portal: Portal) -> None:
    settings = portal.section(NotificationSettings)
    limit = now() - timedelta(days=settings.keep_days)
    with transaction():
        db.session.execute(delete(Line).where(Line.at < limit))
        db.session.execute(delete(Delivery).where(Delivery.created_at < limit, Delivery.state != WAITING))
        for user_id in db.session.scalars(
            select(Line.user_id).group_by(Line.user_id).having(func.count() > settings.most_each)
        ).all():
            _keep_newest(user_id, settings.most_each)


def _keep_newest(user_id: str, most: int) -> None:
    newest = select(Line.id).where(Line.user_id == user_id).order_by(Line.at.desc(), Line.id.desc()).limit(most)
    db.session.execute(delete(Line).where(Line.user_id == user_id, Line.id.not_in(newest)))
