"""A service on OpenTera's database: identities for gateways, and whose events each client sees.

    REDIS_URL=redis://127.0.0.1:6379/0 DATABASE_URL=postgresql://user:password@host/opentera \
        python contrib/opentera_directory.py

It serves `identify` and `may_see` as service.OpenTeraDirectory, for

    twistd opentera-bus --identity-rpc service.OpenTeraDirectory \
        --access-rpc service.OpenTeraDirectory

Install it beside OpenTera's package: docs/how-to/move-a-service.md has the commands. It only reads
the database.
"""

import os
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from opentera.db.Base import BaseModel
from opentera.db.models import (
    TeraDevice,
    TeraDeviceSite,
    TeraParticipant,
    TeraService,
    TeraServiceAccess,
    TeraUser,
)
from twisted.internet import reactor
from twisted.logger import globalLogBeginner, textFileLogObserver

from opentera_twisted import Bus, ProcedureError, Procedures

SERVICE = "OpenTeraDirectory"
Uuids = dict[str, list[str]]


class Directory:
    """The two procedures, answered from OpenTera's models by the rules of its own server.

    Args:
        database: URL of the database, for SQLAlchemy.
    """

    def __init__(self, database: str) -> None:
        self.app = Flask(SERVICE)
        self.app.config["SQLALCHEMY_DATABASE_URI"] = database
        models = SQLAlchemy(self.app)
        BaseModel.set_db(models)

    def identify(self, kind: str, uuid: str) -> dict[str, str] | None:
        """Return name, project and site; None for an unknown or disabled client."""
        match kind:
            case "user":
                user = TeraUser.get_user_by_uuid(uuid)
                return {"name": user.get_fullname()} if user and user.user_enabled else None
            case "participant":
                participant = TeraParticipant.get_participant_by_uuid(uuid)
                if not participant or not participant.participant_enabled:
                    return None
                project = participant.participant_project
                return {
                    "name": participant.participant_name,
                    "project": project.project_name,
                    "site": project.project_site.site_name,
                }
            case "device":
                device = TeraDevice.get_device_by_uuid(uuid)
                return {"name": device.device_name} if device and device.device_enabled else None
        raise ProcedureError(f"expected a kind of user, participant or device, not {kind!r}")

    def may_see(self, kind: str, uuid: str) -> Uuids | None:
        """Return UUIDs of users, participants and devices whose events a client may see."""
        match kind:
            case "user":
                user = TeraUser.get_user_by_uuid(uuid)
                return _seen_by_user(user) if user else None
            case "participant":
                participant = TeraParticipant.get_participant_by_uuid(uuid)
                return participant and {"device": _devices(participant.participant_devices)}
            case "device":
                device = TeraDevice.get_device_by_uuid(uuid)
                return device and {"participant": _participants(device.device_participants)}
        raise ProcedureError(f"expected a kind of user, participant or device, not {kind!r}")

    def procedures(self) -> Procedures:
        """Return both procedures, to run in threads, each call with its own database session."""
        procedures = Procedures(
            doc="Identities of OpenTera's clients, and whose events they may see."
        )
        for function in (self.identify, self.may_see):
            procedures.expose(thread=True)(self._in_session(function))
        return procedures

    def _in_session(self, function: Callable[[str, str], Any]) -> Callable[[str, str], Any]:
        @wraps(function)
        def call(kind: str, uuid: str) -> Any:
            with self.app.app_context():
                return function(kind, uuid)

        return call


def _seen_by_user(user: Any) -> Uuids:
    if user.user_superadmin:
        return {
            "user": _users(TeraUser.query.all()),
            "participant": _participants(TeraParticipant.query.all()),
            "device": _devices(TeraDevice.query.all()),
        }
    projects = [project.id_project for project in user.get_projects_roles()]
    sites = [site.id_site for site in user.get_sites_roles()]
    return {
        "user": sorted({user.user_uuid, *_users(_of_projects(projects))}),
        "participant": _participants(
            TeraParticipant.query.filter(TeraParticipant.id_project.in_(projects))
        ),
        "device": _devices(
            TeraDevice.query.join(TeraDeviceSite).filter(TeraDeviceSite.id_site.in_(sites))
        ),
    }


def _of_projects(projects: list[int]) -> set[Any]:
    """Return the users with their own role in one of the projects."""
    server = TeraService.get_openteraserver_service().id_service
    groups = [
        access.service_access_user_group
        for project in projects
        for access in TeraServiceAccess.get_service_access(server, id_project=project)
    ]
    return {user for group in groups if group is not None for user in group.user_group_users}


def _users(users: Any) -> list[str]:
    return sorted({user.user_uuid for user in users})


def _participants(participants: Any) -> list[str]:
    return sorted({participant.participant_uuid for participant in participants})


def _devices(devices: Any) -> list[str]:
    return sorted({device.device_uuid for device in devices})


def serve(directory: Directory, redis_url: str) -> None:
    """Serve until the program stops."""
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stdout)])
    bus = Bus(redis_url, reactor=reactor, name=SERVICE)

    def start() -> None:
        bus.startService()
        serving = bus.serve_service(SERVICE, directory.procedures())
        serving.addCallback(lambda _: print("the directory is served", flush=True))
        serving.addErrback(lambda failure: print(failure.getErrorMessage(), file=sys.stderr))

    reactor.callWhenRunning(start)
    reactor.addSystemEventTrigger("before", "shutdown", bus.stopService)
    reactor.run()


if __name__ == "__main__":
    url = os.environ.get("DATABASE_URL")
    if not url:
        sys.exit("set DATABASE_URL to OpenTera's database: postgresql://user:password@host/name")
    serve(Directory(url), os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0"))
