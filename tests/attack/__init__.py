"""A standing attack on a gateway in a process of its own, beside an honest client.

    arena        the gateway, its Redis, the honest client, and the checks after each run
    witness      the honest client
    identities   the identity service, honest or hostile
    bytes        random damage to bytes
    clients      a fuzzer of handshakes and frames
    neighbours   a fuzzer of other programs on Redis
    fuzzing      repeats steps of a fuzzer, each with its own seed
    crowd        300 hostile clients, in a process of their own
    latency      the delay of the honest client's events beside the crowd
    slow         clients that do not read, one after another

``make attack`` runs all of it; ``make attack SEED=…`` repeats a run.
"""
