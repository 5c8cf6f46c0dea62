"""RFC 6455, rule by rule: a raw client against a gateway that runs as users run it."""
