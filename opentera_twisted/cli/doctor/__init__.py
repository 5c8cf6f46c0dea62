"""``opentera-bus doctor``: what is wrong with the Redis that the bus stands on, and what helps.

rights      what the user of the URL may and may not
round_trip  the way there: clock and latency
programs    who serves which topic, and under which names
command     asks Redis for all that, and prints the findings
"""
