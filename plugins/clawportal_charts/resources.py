"""What a sample is to those who declare and check."""

from __future__ import annotations

from clawportal.sdk.features import Resource
from clawportal.sdk.permissions import INSTANCE_READ

SAMPLE = Resource("charts_sample", read=INSTANCE_READ, unaudited="counted by the portal itself, nobody changes it")
