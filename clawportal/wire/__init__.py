"""Between the network and the pages: who holds a connection, for how long, and whose turn it is."""
