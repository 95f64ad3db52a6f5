"""What pages and API share: who asks, what a view requires, how problems are told, headers, assets."""
