"""RFC 6455, rule by rule: a client of bare bytes against a gateway as its users run it."""
