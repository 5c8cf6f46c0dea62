"""The directory of contrib on a database in memory: directory.py PORT CONTRIB.

Site S has projects A and B; T has C. Users Ann and Bob have a role in A, Bob administers T, Eve is
disabled and has none, Root is a superadmin. Participants 1 and 2 are in A, 3 in B, 4 in C. Device X
is in S and belongs to 1; Y is in T.
"""

import sys
from typing import Any
from uuid import NAMESPACE_OID, uuid5

sys.path.insert(0, sys.argv[2])

from opentera.db import models
from opentera.db.Base import BaseModel
from opentera_directory import Directory, serve


def uuid_of(name: str) -> str:
    """Return the UUID for a name, as the tests do."""
    return str(uuid5(NAMESPACE_OID, name))


def add(kind: Any, **values: Any) -> Any:
    """Add an object of a model to the database."""
    model = kind()
    for name, value in values.items():
        setattr(model, name, value)
    session = BaseModel.db().session
    session.add(model)
    session.commit()
    return model


def user(name: str, *groups: Any, enabled: bool = True, superadmin: bool = False) -> None:
    """Add a user whose UUID is its name."""
    add(
        models.TeraUser,
        user_uuid=uuid_of(name),
        user_username=name,
        user_firstname=name,
        user_lastname="Zoé",
        user_password="-",
        user_profile="",
        user_enabled=enabled,
        user_superadmin=superadmin,
        user_user_groups=list(groups),
    )


def group(service: Any, role: str, **where: int) -> Any:
    """Add a group of users with a role in a project or a site."""
    made = add(models.TeraUserGroup, user_group_name=role)
    given = add(
        models.TeraServiceRole, id_service=service.id_service, service_role_name=role, **where
    )
    add(
        models.TeraServiceAccess,
        id_user_group=made.id_user_group,
        id_service_role=given.id_service_role,
    )
    return made


def fill() -> None:
    """Add all objects."""
    service = add(
        models.TeraService,
        service_uuid=uuid_of("server"),
        service_name="OpenTera",
        service_key="OpenTeraServer",
        service_hostname="localhost",
        service_port=1,
        service_endpoint="/",
        service_clientendpoint="/",
        service_enabled=True,
        service_system=True,
    )
    s, t = (add(models.TeraSite, site_name=name) for name in "ST")
    a, b, c = (
        add(models.TeraProject, project_name=name, id_site=site.id_site)
        for name, site in (("A", s), ("B", s), ("C", t))
    )
    in_a = group(service, "user", id_project=a.id_project)
    group(service, "admin", id_project=b.id_project)
    group(service, "admin", id_project=c.id_project)
    of_s = group(service, "user", id_site=s.id_site)
    of_t = group(service, "admin", id_site=t.id_site)
    user("Ann", in_a, of_s)
    user("Bob", in_a, of_t)
    user("Eve", enabled=False)
    user("Root", superadmin=True)
    participants = [
        add(
            models.TeraParticipant,
            participant_uuid=uuid_of(name),
            participant_name=f"participant {name}",
            participant_enabled=name != "2",
            id_project=project.id_project,
        )
        for name, project in (("1", a), ("2", a), ("3", b), ("4", c))
    ]
    kind = add(models.TeraDeviceType, device_type_name="d", device_type_key="d")
    for name, site, owners in (("X", s, participants[:1]), ("Y", t, [])):
        add(
            models.TeraDevice,
            device_uuid=uuid_of(name),
            device_name=f"device {name}",
            id_device_type=kind.id_device_type,
            device_enabled=True,
            device_sites=[site],
            device_participants=owners,
        )


directory = Directory("sqlite://")
with directory.app.app_context():
    BaseModel.create_all()
    fill()
serve(directory, f"redis://127.0.0.1:{sys.argv[1]}/0")
