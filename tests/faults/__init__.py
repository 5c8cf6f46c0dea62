"""What a process does when Redis, or the network to it, fails: real servers, real breaks."""
