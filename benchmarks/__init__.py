"""Measures everything against its rivals: ``python -m benchmarks``.

What is compared with what, each a scenario:

    call_latency      one call in flight
    call_throughput   calls per second, some in flight at a time
    exclusive_calls   what ``exclusive=True`` costs
    blocking_calls    calls from threads
    publish           publishing
    restore           subscriptions after a break
    start_up          until a gateway is ready
    event_latency     one event to websockets that nothing else keeps waiting
    fan_out           many events to many websockets
    idle_websockets   logins, and memory
    growth            how costs of an event grow with clients, topics and bytes
    workers           one process beside two
    recovery          returns of clients, and what recovery costs while nobody returns

What scenarios stand on:

    scenario          what each is given, and what they share
    comparison        several gateways measured alike, in rounds, each round in another order
    deliveries        one gateway with its websockets: publishes, counts, times what is delivered
    events            what is published
    presence_reports  waits until the gateway has reported its users
    nats_requests     calls over NATS
    gateways          how each gateway is started, and how events are published for it
    programs          what runs in processes of its own: servers, callers, the load generator
    environments      where rivals are installed: apart from us, the system and each other
    children          starts processes, and the Redis-compatible server, and ends them
    processes         what these have used: processor time, memory

What comes of them:

    figures           samples of ours and of rivals, their ratios, the targets
    exponents         by which power costs grow
    facts             the machine and the versions that figures belong to
    report            the table and the JSON file
    plots             the pictures
    capacity          what a machine of given size carries
    document          the page of the docs

Linux only: memory is read from ``/proc``.
"""
