"""Alerts as those who are called see them: listed, acknowledged, silenced. What raises and resolves them is `alerting`."""

from datetime import datetime

import msgspec

from everloop.domain.alerts import OPEN, Alert, AlertState
from everloop.domain.times import require_zone
from everloop.errors import Conflict, InvalidInput
from everloop.governance.identity import Permission, current_actor
from everloop.governance.operations import operation
from everloop.governance.rooms import Room


class Alerts(Room):
    """The part of monitoring that those who are called see: the alerts of all endpoints."""

    name = "monitoring"

    @operation(Permission.READ)
    def alerts(self, endpoint: str = "", state: str = "", limit: int = 1000) -> list[Alert]:
        """Alerts, newest first; `state` is a state, or ``open`` for all that are not resolved."""
        import sqlalchemy as sa

        from everloop.monitoring.rows import alert_of, checked_state
        from everloop.store.schema.monitoring import alerts as table

        query = sa.select(table)
        if endpoint:
            query = query.where(table.c.endpoint == endpoint)
        if state:
            states = [str(each) for each in OPEN] if state == "open" else [checked_state(state)]
            query = query.where(table.c.state.in_(states))
        with self.look() as look:
            return [
                alert_of(row)
                for row in look.all(
                    query.order_by(table.c.opened.desc(), table.c.alert_id.desc()).limit(limit)
                )
            ]

    @operation(Permission.READ)
    def alert(self, ref: str) -> Alert:
        """One alert, by its reference, its identifier or a unique prefix of it."""
        from everloop.monitoring.rows import find_alert

        with self.look() as look:
            return find_alert(look, ref)

    @operation(Permission.WRITE)
    def ack(self, ref: str, because: str = "") -> Alert:
        """Say that somebody looks after an alert. It stays until it is resolved."""
        from everloop.monitoring.rows import find_alert, put_alert

        with self.change() as tx:
            alert = find_alert(tx, ref)
            if alert.state is AlertState.RESOLVED:
                raise Conflict(
                    f"alert {alert.alert_id} is resolved", hint="there is nothing to acknowledge any more"
                )
            user = current_actor().user
            alert = msgspec.structs.replace(
                alert, state=AlertState.ACKNOWLEDGED, acknowledged_by=user, acknowledged_because=because
            )
            put_alert(tx, alert)
            tx.event(
                "alert.acknowledged",
                f"alert:{alert.alert_id}",
                {"because": because, "endpoint": alert.endpoint},
            )
            return alert

    @operation(Permission.WRITE)
    def silence(self, ref: str, until: datetime, because: str) -> Alert:
        """Call nobody about an alert, nor about what raised it again, until a time. It is still kept and
        shown."""
        from everloop.monitoring.rows import find_alert, put_alert

        moment = require_zone(until, "the end of the silence")
        if not because.strip():
            raise InvalidInput("a silence needs a reason", hint="say why: --because …")
        with self.change() as tx:
            alert = find_alert(tx, ref)
            alert = msgspec.structs.replace(alert, silenced_until=moment, silenced_because=because)
            put_alert(tx, alert)
            tx.event(
                "alert.silenced",
                f"alert:{alert.alert_id}",
                {"until": moment, "because": because, "endpoint": alert.endpoint},
            )
            return alert
