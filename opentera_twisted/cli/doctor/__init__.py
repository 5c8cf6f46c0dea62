"""``opentera-bus doctor``: checks of Redis and of the programs connected to it, with remedies.

rights      ACL rights of the URL's user
round_trip  clock offset and latency
programs    servers of each topic, names of programs
command     queries Redis and prints the findings
"""
