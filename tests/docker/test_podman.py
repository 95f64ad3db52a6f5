"""The same runtime on a real Podman: where it may differ from Docker, and, with CLAWPORTAL_TEST_WHOLE=1, the whole suite."""

from __future__ import annotations

from typing import ClassVar

import pytest
import test_conformance_docker as on_docker

from clawportal_practice.server import PracticeModel

pytestmark = [pytest.mark.docker, pytest.mark.xdist_group("network")]


class TestPodman(on_docker.TestDocker):
    runtime_name = "podman"
    has_filter = True
    quick: ClassVar[frozenset[str]] = frozenset(
        {
            "test_every_process_runs",
            "test_a_missing_program_is_told",
            "test_remove_keeps_data_when_asked",
            "test_remove_takes_data_away",
            "test_watch_tells_an_exit",
            "test_unmanaged_things_are_left_alone",
            "test_files_come_back_as_they_were_pushed",
            "test_follow_from_the_end",
            "test_disk_is_measured",
            "test_the_memory_limit_is_enforced",
            "test_exit_codes",
            "test_events_tell_what_happened",
            "test_diagnose_finds_all_well",
            "test_a_neighbours_environment_and_memory_are_out_of_reach",
        }
    )

    @pytest.fixture
    def engine_url(self, podman_url: str) -> str:
        return podman_url

    def practice_url(self, model: PracticeModel) -> str:
        """Podman tells its containers where this machine is."""
        port = model.url.split("://", 1)[1].split("/")[0].rpartition(":")[2]
        return f"http://host.containers.internal:{port}/v1"
