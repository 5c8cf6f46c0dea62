"""Measures calls and idle websockets against their rivals: ``python -m benchmarks``.

    scenarios    call_latency, call_throughput, exclusive_calls, idle_websockets: what is
                 compared with what
    programs     what runs in processes of its own: servers, callers, websocket clients
    children     starts these, and the Redis-compatible server, and ends them
    rivals       those that are no dependencies: an environment of their own, nats-server
    figures      what is reported: samples of ours and of the rival, their ratio, the target
    facts        the machine and the versions that figures belong to
    report       the table and the JSON file

Linux only: memory is read from ``/proc``.
"""
