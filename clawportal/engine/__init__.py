"""What lives as long as the process and is no use case: connections to clusters, hubs, samples, hints, leases."""
