"""Measures everything against its rivals: ``python -m benchmarks``.

    scenarios     call_latency, call_throughput, exclusive_calls, blocking_calls, publish,
                  restore, start_up, event_latency, fan_out, idle_websockets, growth: what is
                  compared with what
    comparison    several gateways measured alike, in rounds, each round in another order
    deliveries    one gateway with its websockets: publishes, counts and times what is delivered
    gateways      how each gateway is started, and how events are published for it
    programs      what runs in processes of its own: servers, callers, the load generator
    environments  where rivals are installed: each apart from us, from the system and from others
    children      starts processes, and the Redis-compatible server, and ends them
    processes     what these have used: processor time, memory
    figures       what is reported: samples of ours and of rivals, their ratios, the targets
    exponents     how costs grow with sizes
    facts         the machine and the versions that figures belong to
    report        the table and the JSON file
    plots         the pictures
    document      the page of the docs
    capacity      what a machine of given size carries

Linux only: memory is read from ``/proc``.
"""
