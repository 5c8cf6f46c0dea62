"""Endurance of one system: a gateway, a service and its clients, for an hour.

footprint  memory, objects and open files of a process, and whether they stay level
people     clients that recover, and what each of them must receive
disorder   breaks of websockets, of links and of Redis
load       logins, events, calls and variables, at random
service    the program that serves the calls
picture    the footprints over time

``make endurance`` runs it.
"""
