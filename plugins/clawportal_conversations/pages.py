"""Pages to talk with claws: the tab of an instance, the page for talking alone, and what auditors read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask import Response, jsonify, make_response, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from clawportal.sdk.adapters import HealthState
from clawportal.sdk.chat import MAX_TEXT
from clawportal.sdk.data import Which, get_or_404
from clawportal.sdk.errors import NotFound
from clawportal.sdk.fleet import TRANSITIONAL, Desired, Instance, Phase, effective, layer_of
from clawportal.sdk.pages import actor, frame, page, portal, public, requires
from clawportal.sdk.pages import gettext as _
from clawportal.sdk.permissions import INSTANCE_CHAT, INSTANCE_FILES_WRITE, Scope
from clawportal_conversations import documents, oversight, services, talking
from clawportal_conversations.models import Conversation
from clawportal_conversations.permissions import CONVERSATION_AUDIT
from clawportal_conversations.settings import ConversationSettings

LISTED = 50


@page("/instances/<instance_id>/chat")
@requires(INSTANCE_CHAT)
def instance_chat(instance_id: str) -> str:
    """The tab of a claw."""
    claw = get_or_404(Instance, instance_id, actor(), INSTANCE_CHAT)
    context = frame(claw)
    return render_template("conversations/tab.html", **context, **_talk(claw, _chosen(claw)), **_listed(claw))


@page("/talk")
@requires(INSTANCE_CHAT)
def talk() -> str:
    """The page for talking alone: which conversation, or a new one with which claw."""
    claw_id = request.args.get("claw", "")
    claw = get_or_404(Instance, claw_id, actor(), INSTANCE_CHAT) if claw_id else None
    return _alone(claw, None)


@page("/talk/<conversation_id>")
@requires(INSTANCE_CHAT)
def talk_in(conversation_id: str) -> str:
    row = services.get(actor(), conversation_id)
    return _alone(services.claw_of(row), row)


def _alone(claw: Instance | None, row: Conversation | None) -> str:
    talking_to: dict[str, Any] = _talk(claw, row) if claw is not None else {"talk": None}
    return render_template("conversations/talk.html", **talking_to, **_listed(None), claws=_claws())


def _claws() -> Sequence[Instance]:
    """Those that can be talked to."""
    adapters = portal().registry.adapters
    found = services.claws(actor())
    return [one for one in found if "chat" in getattr(adapters.get(one.adapter), "capabilities", ())]


def _chosen(claw: Instance) -> Conversation | None:
    """The conversation that was asked for, else the newest of one's own; none for a new one."""
    chosen = request.args.get("conversation", "")
    if chosen:
        row = services.get(actor(), chosen)
        if row.instance_id != claw.id:
            raise NotFound(_("There is no such conversation with %(name)s.", name=claw.name))
        return row
    if "new" in request.args:
        return None
    newest = services.mine(actor(), instance_id=claw.id, spoken=True, which=Which(1)).items
    return newest[0] if newest else None


def _talk(claw: Instance, row: Conversation | None) -> dict[str, Any]:
    adapter = portal().registry.adapters.get(claw.adapter)
    capabilities = adapter.capabilities if adapter else frozenset[str]()
    attach = "attachments" in capabilities and actor().allows(
        INSTANCE_FILES_WRITE, Scope(claw.tenant_id, claw.project_id, claw.id)
    )
    return {
        "talk": {
            "claw": claw, "conversation": documents.conversation(row, actor()) if row else None, "closed": _closed(claw),
            "model_notice": _model_notice(claw) if "model" in capabilities else None, "attach": attach, "most": MAX_TEXT,
            "most_attached": portal().section(ConversationSettings).attached_megabytes,
            "api": f"{request.script_root}/api/v1",
        },
    }  # fmt: skip


def _model_notice(claw: Instance) -> Any:
    """The provider of its model, where one should know something about that."""
    said = effective(
        portal().registry.providers,
        layer_of(claw.tenant_id),
        portal().registry.adapters.get(claw.adapter),
        claw.version,
        claw.spec or {},
        claw.labels,
    )
    known = portal().registry.providers.get(said.spec.get("model", {}).get("provider", ""))
    return known if known is not None and known.notice else None


def _listed(claw: Instance | None) -> dict[str, Any]:
    text, archived = request.args.get("q", "")[:200], "archived" in request.args
    inside = claw.id if claw else ""
    found = services.mine(actor(), instance_id=inside, archived=archived, text=text, spoken=True, which=Which(LISTED))
    return {
        "conversations": documents.conversations(found.items, actor()),
        "found": found.total,
        "text": text,
        "archived": archived,
    }


def _closed(claw: Instance) -> str | None:
    """Why one cannot talk to it now."""
    adapter = portal().registry.adapters.get(claw.adapter)
    if adapter is None or "chat" not in adapter.capabilities:
        return _("This kind of claw has no chat.")
    coming = claw.desired == Desired.RUNNING and claw.phase in TRANSITIONAL
    if claw.phase != Phase.RUNNING and not coming:
        return _("%(name)s is not running. Start it to talk to it.", name=claw.name)
    if coming or claw.health in (HealthState.STARTING, HealthState.UNHEALTHY):
        return _("%(name)s does not answer yet. This opens by itself once it is well.", name=claw.name)
    return None


# ---- a page that can be installed


@page("/talk/manifest.webmanifest")
@public("names and icons say nothing")
def talk_manifest() -> AnyResponse:
    """What a phone needs to put the page on its home screen."""
    icons = [
        {"src": url_for("web.feature_file", feature="conversations", filename=f"icons/{name}.png"), "type": "image/png",
         "sizes": f"{size}x{size}", "purpose": purpose}
        for name, size, purpose in (("192", 192, "any"), ("512", 512, "any"), ("maskable", 512, "maskable"))
    ]  # fmt: skip
    answer = jsonify(
        id=url_for("web.talk"), name=_("Conversations with claws"), short_name=_("Claws"), start_url=url_for("web.talk"),
        scope=url_for("web.talk"), display="standalone", background_color="#ffffff", theme_color="#5746d8", icons=icons,
    )  # fmt: skip
    answer.mimetype = "application/manifest+json"
    return answer


# ---- for auditors


@page("/talk/audit")
@requires(CONVERSATION_AUDIT)
def talk_audit() -> str:
    found = oversight.conversations(actor(), which=Which(200))
    return render_template("conversations/audit.html", rows=documents.conversations(found.items), total=found.total)


@page("/talk/audit/<conversation_id>")
@requires(CONVERSATION_AUDIT)
def talk_audited(conversation_id: str) -> Response:
    row = oversight.visit(portal(), actor(), conversation_id)
    before = request.args.get("before", "")
    found = talking.page(row, before=int(before) if before.isdigit() and len(before) < 10 else None, limit=100)
    shown = [documents.message(one) for one in found.items]
    return make_response(
        render_template("conversations/audited.html", row=documents.conversation(row), messages=shown, older=found.older)
    )
