"""Measures everything against its rivals: ``python -m benchmarks``.

Scenarios, each a comparison:

    call_latency      one call in flight
    call_throughput   calls per second, some in flight at a time
    exclusive_calls   the cost of ``exclusive=True``
    blocking_calls    calls from threads
    publish           publishing
    restore           subscriptions after a break
    start_up          until a gateway is ready
    commands          command lines and imports as whole processes
    event_latency     one event to otherwise idle websockets
    fan_out           many events to many websockets
    idle_websockets   logins, and memory
    growth            costs of an event by clients, topics and bytes
    crowd             as many websockets as a process may hold
    workers           one process beside two
    nodes             events and calls through 1, 3 and 6 nodes of a cluster
    fleet             a login's cost at Redis with 1 to 100 gateways
    recovery          returns of clients, and what recovery costs while nobody returns

Parts of scenarios:

    scenario          settings and common functions
    comparison        several gateways measured alike, in rounds, each round in another order
    deliveries        one gateway with its websockets: publishes, counts, times what is delivered
    crowds            our gateway: logins at once, and bursts
    events            published events
    presence_reports  waits until the gateway has reported its users
    gateways          starts our gateway and publishes events for it
    programs          separate processes: servers, callers, the load generator
    rivals            gateways and brokers to compare with ours
    children          starts processes, and the Redis-compatible server, and ends them
    processes         processor time and memory of these

Results:

    figures           samples of ours and of rivals, their ratios, the targets
    exponents         growth exponents of costs
    facts             the machine and the versions that figures belong to
    report            the table and the JSON file
    plots             the pictures
    capacity          capacity of a machine of given size
    document          the page of the docs

Linux only: memory is read from ``/proc``.
"""
