"""Tables, and how rows are reached: the base of models, mixins that say where rows belong, transactions, lists and the check.

A model takes `Base` and one mixin, and names the resource that its feature declares:

    class Note(TenantScoped, Base):
        __tablename__ = "notes_note"
        resource = NOTE

`portal_setting(name, default)` and `set_portal_setting(name, value)` keep what administrators switch in the browser; begin such
names with that of the feature.
"""

from __future__ import annotations

from clawportal.clock import now
from clawportal.db import Base, MessageJSON, MessageText, UTCDateTime, changed_rows, db, says, transaction
from clawportal.folding import fold
from clawportal.ids import LENGTH, new_id
from clawportal.models.scopes import (
    ClusterScoped,
    InstanceScoped,
    Offered,
    Offers,
    PersonScoped,
    ProjectScoped,
    Recorded,
    Scoped,
    TenantScoped,
)
from clawportal.paging import FIRST_PAGE, Order, Slice, Which, by_name, whole
from clawportal.paging import page as slice_of
from clawportal.services.rights.access import get_or_404, require, scope_of, visible
from clawportal.services.rights.lists import listing
from clawportal.services.system.portal_settings import read as portal_setting
from clawportal.services.system.portal_settings import write as set_portal_setting
from clawportal.validation import field_errors

__all__ = [
    "FIRST_PAGE",
    "LENGTH",
    "Base",
    "ClusterScoped",
    "InstanceScoped",
    "MessageJSON",
    "MessageText",
    "Offered",
    "Offers",
    "Order",
    "PersonScoped",
    "ProjectScoped",
    "Recorded",
    "Scoped",
    "Slice",
    "TenantScoped",
    "UTCDateTime",
    "Which",
    "by_name",
    "changed_rows",
    "db",
    "field_errors",
    "fold",
    "get_or_404",
    "listing",
    "new_id",
    "now",
    "portal_setting",
    "require",
    "says",
    "scope_of",
    "set_portal_setting",
    "slice_of",
    "transaction",
    "visible",
    "whole",
]
